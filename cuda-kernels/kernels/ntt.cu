// Transforms over BN254's scalar field, of size n = parts m with m = 2^log and parts 1 or 3. `roots[i]` is w^i, w of
// order n. Decimation in time: bits reversed first, then log stages, then for three parts
//
//     X[j + t m] = sum_r w^(r j) z^(r t) F_r[j],  z = w^m,  F_r the transform of the coefficients r mod 3.
//
// Memory is read and written once for several stages: a block takes CHUNK elements, all that these stages join with each
// other, to shared memory. A thread works on two elements at a time.
//
// What the values are made of takes a quarter of their room or less: small integers, and few values that are chosen many times.
#include "field.cuh"

#define CHUNK 1024

DEVICE void butterfly(Scalar &a, Scalar &b, const Scalar &root) {
    Scalar u = load(&a), v = load(&b) * root;
    copy(a, u + v);
    copy(b, u - v);
}

// The first stages of v, bits reversed: out[r m + reversed(j)] = v[parts j + r], then all stages within chunks of
// 2 * THREADS. v is x, or, with a shift, v[t] = x[-t mod n] shift[t]: what turns the values of one transform into the
// coefficients of the next one, on a coset.
KERNEL(ntt_first)(const Scalar *x, const Scalar *shift, Scalar *out, const Scalar *roots, uint32_t n, uint32_t parts,
                  uint32_t log) {
    SHARED(Scalar, chunk, CHUNK);
    uint64_t first = (uint64_t)BLOCK_X * 2 * THREADS;
    for (uint32_t at = THREAD; at < 2 * THREADS; at += THREADS) {
        uint32_t place = (uint32_t)first + at, r = place >> log, j = log ? reversed(place & ((1u << log) - 1), log) : 0;
        uint32_t t = parts * j + r;
        copy(chunk[at], shift ? load(&x[t ? n - t : 0]) * load(&shift[t]) : load(&x[t]));
    }
    BARRIER(3);
    for (uint32_t half = 1; half <= THREADS; half *= 2) {
        uint32_t j = THREAD % half, at = 2 * (THREAD - j) + j;
        butterfly(chunk[at], chunk[at + half], load(&roots[(uint64_t)j * (n / (2 * half))]));
        BARRIER(4);
    }
    for (uint32_t at = THREAD; at < 2 * THREADS; at += THREADS) copy(out[first + at], chunk[at]);
}
EXPORT(ntt_first)

// `stages` more, the first of which joins elements `1 << log_half` apart. The chunk is a matrix: its rows are that far
// apart, its columns neighbours, 2 * THREADS >> stages of them, not more than `1 << log_half`.
KERNEL(ntt_pass)(Scalar *x, const Scalar *roots, uint32_t n, uint32_t log_half, uint32_t stages) {
    SHARED(Scalar, chunk, CHUNK);
    uint32_t columns = 2 * THREADS >> stages, across = (1u << log_half) / columns;
    uint64_t column = (uint64_t)(BLOCK_X % across) * columns;
    Scalar *from = x + ((uint64_t)(BLOCK_X / across) << (log_half + stages)) + column;
    for (uint32_t at = THREAD; at < 2 * THREADS; at += THREADS)
        copy(chunk[at], from[((uint64_t)(at / columns) << log_half) + at % columns]);
    BARRIER(5);
    for (uint32_t stage = 0; stage < stages; stage++) {
        uint32_t half = 1u << stage, pair = THREAD / columns, j = pair % half;
        uint32_t at = (2 * (pair - j) + j) * columns + THREAD % columns;
        uint64_t power = ((uint64_t)j << log_half) + column + THREAD % columns;
        butterfly(chunk[at], chunk[at + half * columns], load(&roots[power * (n >> (log_half + stage + 1))]));
        BARRIER(6);
    }
    for (uint32_t at = THREAD; at < 2 * THREADS; at += THREADS)
        copy(from[((uint64_t)(at / columns) << log_half) + at % columns], chunk[at]);
}
EXPORT(ntt_pass)

KERNEL(ntt_radix3)(Scalar *x, const Scalar *roots, uint32_t m) {
    uint64_t j = element();
    if (j >= m) return;
    Scalar z1 = load(&roots[m]), z2 = load(&roots[2 * (uint64_t)m]);
    Scalar a = load(&x[j]), b = load(&x[m + j]) * load(&roots[j]), c = load(&x[2 * (uint64_t)m + j]) * load(&roots[2 * j]);
    copy(x[j], a + b + c);
    copy(x[m + j], a + b * z1 + c * z2);
    copy(x[2 * (uint64_t)m + j], a + b * z2 + c * z1);
}
EXPORT(ntt_radix3)

// a[i] = a[i] b[i]
KERNEL(field_multiply)(Scalar *a, const Scalar *b, uint64_t n) {
    uint64_t i = element();
    if (i < n) copy(a[i], load(&a[i]) * load(&b[i]));
}
EXPORT(field_multiply)

// out[i] = k_i + added, for small integers k_i
KERNEL(field_small)(const int64_t *values, const Scalar *added, Scalar *out, uint64_t n) {
    uint64_t i = element();
    if (i >= n) return;
    int64_t value = values[i];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    Scalar number = Scalar::zero(), square;
    number.v[0] = (uint32_t)magnitude, number.v[1] = (uint32_t)(magnitude >> 32);
#pragma unroll
    for (int j = 0; j < 8; j++) square.v[j] = scalar_square(j);
    number = number * square;
    if (value < 0) number = Scalar::zero() - number;
    copy(out[i], number + load(added));
}
EXPORT(field_small)

// out[i] = values[index[i]]
KERNEL(field_chosen)(const uint32_t *index, const Scalar *values, Scalar *out, uint64_t n) {
    uint64_t i = element();
    if (i < n) copy(out[i], values[index[i]]);
}
EXPORT(field_chosen)

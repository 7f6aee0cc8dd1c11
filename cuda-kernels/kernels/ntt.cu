// Transforms over BN254's scalar field, of size n = parts m with m = 2^log and parts 1 or 3. `roots[i]` is w^i, w of
// order n. Decimation in time: bits reversed first, then log stages, then for three parts
//
//     X[j + t m] = sum_r w^(r j) z^(r t) F_r[j],  z = w^m,  F_r the transform of the coefficients r mod 3.
#include "field.cuh"

// out[r m + reversed(j)] = v[parts j + r], where v is x, or, with a shift, v[t] = x[-t mod n] shift[t]: what turns the
// values of one transform into the coefficients of the next one, on a coset.
KERNEL(ntt_gather)(const Scalar *x, const Scalar *shift, Scalar *out, uint32_t n, uint32_t parts, uint32_t log) {
    uint64_t t = element();
    if (t >= n) return;
    Scalar value = shift ? x[t ? n - t : 0] * shift[t] : x[t];
    uint32_t j = (uint32_t)t / parts, reversed = 0;
    for (uint32_t bit = 0; bit < log; bit++) reversed |= (j >> bit & 1) << (log - 1 - bit);
    out[((uint64_t)(t % parts) << log) + reversed] = value;
}
EXPORT(ntt_gather)

DEVICE void butterfly(Scalar &a, Scalar &b, const Scalar &root) {
    Scalar u = a, v = b * root;
    a = u + v;
    b = u - v;
}

// All stages within chunks of 2 * THREADS elements, in shared memory.
#define CHUNK 512
KERNEL(ntt_block)(Scalar *x, const Scalar *roots, uint32_t n) {
    SHARED(Scalar, chunk, CHUNK);
    Scalar *from = x + (uint64_t)BLOCK_X * 2 * THREADS;
    chunk[THREAD] = from[THREAD];
    chunk[THREAD + THREADS] = from[THREAD + THREADS];
    BARRIER(3);
    for (uint32_t half = 1; half <= THREADS; half *= 2) {
        uint32_t j = THREAD % half, at = 2 * (THREAD - j) + j;
        butterfly(chunk[at], chunk[at + half], roots[(uint64_t)j * (n / (2 * half))]);
        BARRIER(4);
    }
    from[THREAD] = chunk[THREAD];
    from[THREAD + THREADS] = chunk[THREAD + THREADS];
}
EXPORT(ntt_block)

// One stage in global memory.
KERNEL(ntt_stage)(Scalar *x, const Scalar *roots, uint32_t n, uint32_t half) {
    uint64_t i = element();
    if (i >= n / 2) return;
    uint64_t j = i % half, at = 2 * (i - j) + j;
    butterfly(x[at], x[at + half], roots[j * (n / (2 * half))]);
}
EXPORT(ntt_stage)

KERNEL(ntt_radix3)(Scalar *x, const Scalar *roots, uint32_t m) {
    uint64_t j = element();
    if (j >= m) return;
    Scalar z1 = roots[m], z2 = roots[2 * (uint64_t)m];
    Scalar a = x[j], b = x[m + j] * roots[j], c = x[2 * (uint64_t)m + j] * roots[2 * j];
    x[j] = a + b + c;
    x[m + j] = a + b * z1 + c * z2;
    x[2 * (uint64_t)m + j] = a + b * z2 + c * z1;
}
EXPORT(ntt_radix3)

// a[i] = a[i] b[i]
KERNEL(field_multiply)(Scalar *a, const Scalar *b, uint64_t n) {
    uint64_t i = element();
    if (i < n) a[i] = a[i] * b[i];
}
EXPORT(field_multiply)

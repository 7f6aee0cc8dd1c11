// The fields of BN254 in Montgomery form with R = 2^256: eight 32-bit words, least significant first, below the modulus.
// In memory that is what arkworks has, so nothing is converted.
#pragma once
#include "portable.cuh"

// Copies of 16 bytes at a time. The compiler for devices copies a structure of 128 bytes or more byte by byte.
typedef uint32_t Quad __attribute__((vector_size(16), may_alias));
template <class T> DEVICE void copy(T &to, const T &from) {
    static_assert(sizeof(T) % sizeof(Quad) == 0 && alignof(T) >= sizeof(Quad), "whole quads");
#pragma unroll
    for (uint32_t i = 0; i < sizeof(T) / sizeof(Quad); i++)
        reinterpret_cast<Quad *>(&to)[i] = reinterpret_cast<const Quad *>(&from)[i];
}
template <class T> DEVICE T load(const T *from) {
    T value;
    copy(value, *from);
    return value;
}

struct ScalarModulus {
    static constexpr uint32_t inverse = 0xefffffffu; // -1/p mod 2^32
    DEVICE static constexpr uint32_t word(int i) {
        constexpr uint32_t words[8] = {0xf0000001, 0x43e1f593, 0x79b97091, 0x2833e848,
                                       0x8181585d, 0xb85045b6, 0xe131a029, 0x30644e72};
        return words[i];
    }
    DEVICE static constexpr uint32_t one(int i) {
        constexpr uint32_t words[8] = {0x4ffffffb, 0xac96341c, 0x9f60cd29, 0x36fc7695,
                                       0x7879462e, 0x666ea36f, 0x9a07df2f, 0x0e0a77c1};
        return words[i];
    }
};

// R^2 mod p: a product with it is the Montgomery form of the other factor.
DEVICE constexpr uint32_t scalar_square(int i) {
    constexpr uint32_t words[8] = {0xae216da7, 0x1bb8e645, 0xe35c59e3, 0x53fe3ab1,
                                   0x53bb8085, 0x8c49833d, 0x7f4e44a5, 0x0216d0b1};
    return words[i];
}

struct BaseModulus {
    static constexpr uint32_t inverse = 0xe4866389u;
    DEVICE static constexpr uint32_t word(int i) {
        constexpr uint32_t words[8] = {0xd87cfd47, 0x3c208c16, 0x6871ca8d, 0x97816a91,
                                       0x8181585d, 0xb85045b6, 0xe131a029, 0x30644e72};
        return words[i];
    }
    DEVICE static constexpr uint32_t one(int i) {
        constexpr uint32_t words[8] = {0xc58f0d9d, 0xd35d438d, 0xf5c70b3d, 0x0a78eb28,
                                       0x7879462c, 0x666ea36f, 0x9a07df2f, 0x0e0a77c1};
        return words[i];
    }
};

template <class P> struct alignas(16) Prime {
    uint32_t v[8];

    DEVICE static Prime zero() {
        Prime r;
        for (int i = 0; i < 8; i++) r.v[i] = 0;
        return r;
    }
    DEVICE static Prime one() {
        Prime r;
        for (int i = 0; i < 8; i++) r.v[i] = P::one(i);
        return r;
    }
    DEVICE bool is_zero() const {
        uint32_t any = 0;
        for (int i = 0; i < 8; i++) any |= v[i];
        return any == 0;
    }

    // From below 2p to below p.
    DEVICE static Prime reduced(const Prime &a) {
        Prime r;
        r.v[0] = sub_cc(a.v[0], P::word(0));
#pragma unroll
        for (int i = 1; i < 8; i++) r.v[i] = subc_cc(a.v[i], P::word(i));
        uint32_t borrow = subc(0, 0);
#pragma unroll
        for (int i = 0; i < 8; i++) r.v[i] = borrow ? a.v[i] : r.v[i];
        return r;
    }
    DEVICE friend Prime operator+(const Prime &a, const Prime &b) {
        Prime r;
        r.v[0] = add_cc(a.v[0], b.v[0]);
#pragma unroll
        for (int i = 1; i < 7; i++) r.v[i] = addc_cc(a.v[i], b.v[i]);
        r.v[7] = addc(a.v[7], b.v[7]); // 2p is below 2^255
        return reduced(r);
    }
    DEVICE friend Prime operator-(const Prime &a, const Prime &b) {
        Prime r, back;
        r.v[0] = sub_cc(a.v[0], b.v[0]);
#pragma unroll
        for (int i = 1; i < 8; i++) r.v[i] = subc_cc(a.v[i], b.v[i]);
        uint32_t borrow = subc(0, 0);
        back.v[0] = add_cc(r.v[0], P::word(0));
#pragma unroll
        for (int i = 1; i < 7; i++) back.v[i] = addc_cc(r.v[i], P::word(i));
        back.v[7] = addc(r.v[7], P::word(7));
#pragma unroll
        for (int i = 0; i < 8; i++) r.v[i] = borrow ? back.v[i] : r.v[i];
        return r;
    }

    // `a b / R`. Two sums, `even` of the products that begin at an even word and `odd`, one word up, of the others, so
    // that each is a single carry chain. A step adds `a b_i` and the multiple of p that clears the lowest word; dropping
    // that word swaps what the two sums are.
    DEVICE friend Prime operator*(const Prime &a, const Prime &b) {
        uint32_t even[8], odd[8];
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            uint64_t low = (uint64_t)a.v[j] * b.v[0], high = (uint64_t)a.v[j + 1] * b.v[0];
            even[j] = (uint32_t)low, even[j + 1] = (uint32_t)(low >> 32);
            odd[j] = (uint32_t)high, odd[j + 1] = (uint32_t)(high >> 32);
        }
        clear(even, odd);
        step(odd, even, a, b.v[1]);
#pragma unroll
        for (int i = 2; i < 8; i += 2) {
            step(even, odd, a, b.v[i]);
            step(odd, even, a, b.v[i + 1]);
        }
        Prime r;
        r.v[0] = add_cc(even[0], odd[1]);
#pragma unroll
        for (int i = 1; i < 7; i++) r.v[i] = addc_cc(even[i], odd[i + 1]);
        r.v[7] = addc(even[7], 0);
        return reduced(r);
    }

  private:
    // sum += 2^(32 j) word(j + first) b over even j; the carry stays in the flag.
    template <class W> DEVICE static void add_products(uint32_t *sum, const W &word, uint32_t b) {
        sum[0] = mad_lo_cc(word(0), b, sum[0]);
        sum[1] = madc_hi_cc(word(0), b, sum[1]);
#pragma unroll
        for (int j = 2; j < 8; j += 2) {
            sum[j] = madc_lo_cc(word(j), b, sum[j]);
            sum[j + 1] = madc_hi_cc(word(j), b, sum[j + 1]);
        }
    }
    // Adds the multiple of p that makes even[0] zero. The odd sum stays below 2^256, so its carry is none.
    DEVICE static void clear(uint32_t *even, uint32_t *odd) {
        uint32_t m = even[0] * P::inverse;
        add_products(odd, [](int j) { return P::word(j + 1); }, m);
        add_products(even, [](int j) { return P::word(j); }, m);
        odd[7] = addc(odd[7], 0);
    }
    // `odd` was the even sum: its word 0 is zero, word 1 belongs to even[0], the rest moves down by two.
    DEVICE static void step(uint32_t *even, uint32_t *odd, const Prime &a, uint32_t b) {
        even[0] = add_cc(even[0], odd[1]);
#pragma unroll
        for (int j = 0; j < 6; j += 2) {
            odd[j] = madc_lo_cc(a.v[j + 1], b, odd[j + 2]);
            odd[j + 1] = madc_hi_cc(a.v[j + 1], b, odd[j + 3]);
        }
        odd[6] = madc_lo_cc(a.v[7], b, 0);
        odd[7] = madc_hi(a.v[7], b, 0);
        add_products(even, [&a](int j) { return a.v[j]; }, b);
        odd[7] = addc(odd[7], 0);
        clear(even, odd);
    }
};

typedef Prime<ScalarModulus> Scalar;
typedef Prime<BaseModulus> Base;

// A product as a call: inlined everywhere, a point addition would take megabytes of PTX. Operands and result are vectors,
// which stay in registers; structures would be passed in memory.
typedef uint32_t Words __attribute__((vector_size(32)));
typedef uint32_t WordPairs __attribute__((vector_size(64)));

DEVICE Words words(const Base &a) {
    Words r;
#pragma unroll
    for (int i = 0; i < 8; i++) r[i] = a.v[i];
    return r;
}
DEVICE Base base(const Words &a) {
    Base r;
#pragma unroll
    for (int i = 0; i < 8; i++) r.v[i] = a[i];
    return r;
}
DEVICE_CALL Words product(Words a, Words b) { return words(base(a) * base(b)); }
DEVICE Base product(const Base &a, const Base &b) { return base(product(words(a), words(b))); }

// a^(q - 2), which is 0 for 0. Square and multiply from the highest bit of the exponent, which is bit 253.
DEVICE_CALL Words inverse(Words a) {
    Words power = a;
    for (int bit = 252; bit >= 0; bit--) {
        uint32_t word = 0;
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (bit / 32 == i) word = BaseModulus::word(i) - (i ? 0 : 2);
        power = product(power, power);
        if (word >> bit % 32 & 1) power = product(power, a);
    }
    return power;
}
DEVICE Base inverse(const Base &a) { return base(inverse(words(a))); }

// Fq[u] / (u^2 + 1).
struct Quadratic {
    Base c0, c1;

    DEVICE static Quadratic zero() { return {Base::zero(), Base::zero()}; }
    DEVICE static Quadratic one() { return {Base::one(), Base::zero()}; }
    DEVICE bool is_zero() const { return c0.is_zero() && c1.is_zero(); }
    DEVICE friend Quadratic operator+(const Quadratic &a, const Quadratic &b) { return {a.c0 + b.c0, a.c1 + b.c1}; }
    DEVICE friend Quadratic operator-(const Quadratic &a, const Quadratic &b) { return {a.c0 - b.c0, a.c1 - b.c1}; }
    DEVICE friend Quadratic operator*(const Quadratic &a, const Quadratic &b);
};

DEVICE WordPairs words(const Quadratic &a) {
    WordPairs r;
#pragma unroll
    for (int i = 0; i < 8; i++) r[i] = a.c0.v[i], r[i + 8] = a.c1.v[i];
    return r;
}
DEVICE Quadratic quadratic(const WordPairs &a) {
    Quadratic r;
#pragma unroll
    for (int i = 0; i < 8; i++) r.c0.v[i] = a[i], r.c1.v[i] = a[i + 8];
    return r;
}

// Three products instead of four.
DEVICE_CALL WordPairs product(WordPairs left, WordPairs right) {
    Quadratic a = quadratic(left), b = quadratic(right);
    Base low = a.c0 * b.c0, high = a.c1 * b.c1, both = (a.c0 + a.c1) * (b.c0 + b.c1);
    return words(Quadratic{low - high, both - low - high});
}
DEVICE Quadratic product(const Quadratic &a, const Quadratic &b) { return quadratic(product(words(a), words(b))); }
DEVICE Quadratic operator*(const Quadratic &a, const Quadratic &b) { return product(a, b); }
// (a + b u)(a - b u) = a^2 + b^2
DEVICE Quadratic inverse(const Quadratic &a) {
    Base norm = inverse(product(a.c0, a.c0) + product(a.c1, a.c1));
    return {product(a.c0, norm), product(Base::zero() - a.c1, norm)};
}

// Points of `y^2 = x^3 + b`, over either field. Affine ones are (x, y), and (0, 0), which is on no such curve, is the
// neutral element. Sums have four coordinates (EFD, "xyzz"): x = X/ZZ, y = Y/ZZZ, ZZ^3 = ZZZ^2, neutral if ZZ = 0.
#pragma once
#include "field.cuh"

template <class F> struct Affine {
    F x, y;
    DEVICE bool neutral() const { return x.is_zero() && y.is_zero(); }
};

template <class F> struct Point {
    F x, y, zz, zzz;

    // Only ZZ counts. Zeros in all coordinates would be written byte by byte, as a copy would.
    DEVICE void clear() { x = F::one(), y = F::one(), zz = F::zero(), zzz = F::one(); }
    DEVICE bool neutral() const { return zz.is_zero(); }
};

// No point of either group has order 2, so y is not 0.
template <class F> DEVICE_CALL void twice(Point<F> &p) {
    if (p.neutral()) return;
    F u = p.y + p.y, v = product(u, u), w = product(u, v), s = product(p.x, v), m = product(p.x, p.x);
    m = m + m + m;
    F x = product(m, m) - s - s;
    p.y = product(m, s - x) - product(w, p.y);
    p.x = x;
    p.zz = product(v, p.zz);
    p.zzz = product(w, p.zzz);
}

// The hot one: eight products and two squares, inlined for the prime field. The sum stays in registers: only a copy of it
// is ever in memory.
template <class F> DEVICE void add(Point<F> &sum, const Affine<F> &p) {
    if (p.neutral()) return;
    if (sum.neutral()) {
        sum.x = p.x, sum.y = p.y, sum.zz = F::one(), sum.zzz = F::one();
        return;
    }
    F dx = p.x * sum.zz - sum.x, dy = p.y * sum.zzz - sum.y;
    if (dx.is_zero()) {
        if (dy.is_zero()) {
            Point<F> doubled;
            copy(doubled, sum);
            twice(doubled);
            copy(sum, doubled);
        } else sum.clear();
        return;
    }
    F dx2 = dx * dx, dx3 = dx * dx2, q = sum.x * dx2;
    F x = dy * dy - dx3 - q - q;
    sum.y = dy * (q - x) - sum.y * dx3;
    sum.x = x;
    sum.zz = sum.zz * dx2;
    sum.zzz = sum.zzz * dx3;
}

template <class F> DEVICE_CALL void add(Point<F> &sum, const Point<F> &p) {
    if (p.neutral()) return;
    if (sum.neutral()) {
        copy(sum, p);
        return;
    }
    F u = product(sum.x, p.zz), s = product(sum.y, p.zzz);
    F dx = product(p.x, sum.zz) - u, dy = product(p.y, sum.zzz) - s;
    if (dx.is_zero()) {
        if (dy.is_zero()) twice(sum);
        else sum.clear();
        return;
    }
    F dx2 = product(dx, dx), dx3 = product(dx, dx2), q = product(u, dx2);
    F x = product(dy, dy) - dx3 - q - q;
    sum.y = product(dy, q - x) - product(s, dx3);
    sum.x = x;
    sum.zz = product(product(sum.zz, p.zz), dx2);
    sum.zzz = product(product(sum.zzz, p.zzz), dx3);
}

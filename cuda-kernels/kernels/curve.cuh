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

    DEVICE static Point neutral_element() { return {F::zero(), F::zero(), F::zero(), F::zero()}; }
    DEVICE bool neutral() const { return zz.is_zero(); }
};

// No point of either group has order 2, so y is not 0.
template <class F> DEVICE_CALL void twice(Point<F> &p) {
    if (p.neutral()) return;
    F u = p.y + p.y, v = product(u, u), w = product(u, v), s = product(p.x, v), m = product(p.x, p.x);
    m = m + m + m;
    F x = product(m, m) - s - s;
    p = {x, product(m, s - x) - product(w, p.y), product(v, p.zz), product(w, p.zzz)};
}

// The hot one: eight products and two squares, inlined for the prime field.
template <class F> DEVICE void add(Point<F> &sum, const Affine<F> &p) {
    if (p.neutral()) return;
    if (sum.neutral()) {
        sum = {p.x, p.y, F::one(), F::one()};
        return;
    }
    F dx = p.x * sum.zz - sum.x, dy = p.y * sum.zzz - sum.y;
    if (dx.is_zero()) {
        if (dy.is_zero()) twice(sum);
        else sum = Point<F>::neutral_element();
        return;
    }
    F dx2 = dx * dx, dx3 = dx * dx2, q = sum.x * dx2;
    F x = dy * dy - dx3 - q - q;
    sum = {x, dy * (q - x) - sum.y * dx3, sum.zz * dx2, sum.zzz * dx3};
}

template <class F> DEVICE_CALL void add(Point<F> &sum, const Point<F> &p) {
    if (p.neutral()) return;
    if (sum.neutral()) {
        sum = p;
        return;
    }
    F u = product(sum.x, p.zz), s = product(sum.y, p.zzz);
    F dx = product(p.x, sum.zz) - u, dy = product(p.y, sum.zzz) - s;
    if (dx.is_zero()) {
        if (dy.is_zero()) twice(sum);
        else sum = Point<F>::neutral_element();
        return;
    }
    F dx2 = product(dx, dx), dx3 = product(dx, dx2), q = product(u, dx2);
    F x = product(dy, dy) - dx3 - q - q;
    sum = {x, product(dy, q - x) - product(s, dx3), product(product(sum.zz, p.zz), dx2),
           product(product(sum.zzz, p.zzz), dx3)};
}

// What a device can do at most: the rates that kernels are measured against, in the same run.
#include "field.cuh"

// 32-bit multiply-adds: LANES independent chains of 16 `rounds` a thread.
#define LANES 8
KERNEL(ceiling_multiply)(uint64_t *out, uint32_t rounds) {
    uint32_t sums[LANES], factor = (uint32_t)element() * 0x9e3779b9u | 1;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++) sums[i] = factor + i;
    for (uint32_t r = 0; r < rounds; r++)
#pragma unroll
        for (uint32_t i = 0; i < 16 * LANES; i++) sums[i % LANES] = sums[i % LANES] * factor + sums[(i + 1) % LANES];
    uint64_t all = 0;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++) all ^= sums[i];
    out[element()] = all;
}
EXPORT(ceiling_multiply)

// Products of elements of the base field, two independent chains of 4 `rounds` a thread.
KERNEL(ceiling_product)(uint64_t *out, uint32_t rounds) {
    Base first = Base::one(), second = Base::one(), factor = Base::one();
    first.v[0] ^= (uint32_t)element(), second.v[1] ^= (uint32_t)element(), factor.v[2] ^= (uint32_t)element();
    for (uint32_t r = 0; r < rounds; r++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) first = first * factor, second = second * factor;
    Base all = first - second;
    uint64_t word = (uint64_t)all.v[1] << 32 | all.v[0];
    out[element()] = word;
}
EXPORT(ceiling_product)

// Products of matrices of bytes in registers: 16 LANES products of 16 by 32 by 8 a warp and round, of numbers that differ,
// as those of a network do: equal ones take less power, and a device is faster on them than it ever is on others.
KERNEL(ceiling_tensor)(int32_t *out, uint32_t rounds) {
    int32_t sums[LANES][4];
    uint32_t left[4][4], right[LANES][2];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) left[i][k] = ((uint32_t)element() * 16 + i * 4 + k + 1) * 0x9e3779b9u;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++) {
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) sums[i][k] = (int32_t)(i + k);
#pragma unroll
        for (uint32_t k = 0; k < 2; k++) right[i][k] = ((uint32_t)element() * 16 + i * 2 + k + 3) * 0x85ebca6bu;
    }
    for (uint32_t r = 0; r < rounds; r++)
#pragma unroll
        for (uint32_t i = 0; i < 16 * LANES; i++) {
            uint32_t j = (i + i / LANES) % LANES;
            multiply_matrices(sums[i % LANES], left[(i + i / LANES) % 4], right[j][0], right[j][1]);
        }
    int32_t all = 0;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++)
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) all ^= sums[i][k];
    out[element()] = all;
}
EXPORT(ceiling_tensor)

KERNEL(ceiling_copy)(const Quad *from, Quad *to, uint64_t n) {
    uint64_t i = element();
    if (i < n) to[i] = from[i];
}
EXPORT(ceiling_copy)

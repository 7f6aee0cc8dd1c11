// What a device can do at most: the rates that kernels are measured against, in the same run.
#include "field.cuh"

// 32-bit products with 64-bit sums, what field arithmetic is made of: LANES independent chains of `rounds` a thread.
#define LANES 8
KERNEL(ceiling_multiply)(uint64_t *out, uint32_t rounds) {
    uint64_t sums[LANES];
    uint32_t factor = (uint32_t)element() | 1;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++) sums[i] = factor + i;
    for (uint32_t r = 0; r < rounds; r++)
#pragma unroll
        for (uint32_t i = 0; i < LANES; i++) sums[i] += (uint64_t)(uint32_t)sums[i] * factor;
    uint64_t all = 0;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++) all ^= sums[i];
    out[element()] = all;
}
EXPORT(ceiling_multiply)

// Products of matrices of bytes in registers: LANES independent ones of 16 by 32 by 8 a warp and round.
KERNEL(ceiling_tensor)(int32_t *out, uint32_t rounds) {
    int32_t sums[LANES][4];
    uint32_t left[4], right = THREAD * 0x01030507u;
    for (uint32_t i = 0; i < 4; i++) left[i] = (THREAD + i) * 0x07050301u;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++)
        for (uint32_t k = 0; k < 4; k++) sums[i][k] = (int32_t)(i + k);
    for (uint32_t r = 0; r < rounds; r++)
#pragma unroll
        for (uint32_t i = 0; i < LANES; i++) multiply_matrices(sums[i], left, right, right ^ 0x11111111u);
    int32_t all = 0;
#pragma unroll
    for (uint32_t i = 0; i < LANES; i++)
        for (uint32_t k = 0; k < 4; k++) all ^= sums[i][k];
    out[element()] = all;
}
EXPORT(ceiling_tensor)

KERNEL(ceiling_copy)(const Quad *from, Quad *to, uint64_t n) {
    uint64_t i = element();
    if (i < n) to[i] = from[i];
}
EXPORT(ceiling_copy)

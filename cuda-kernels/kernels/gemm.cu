// Products of matrices of bytes on tensor cores:
//
//     c[z, m, n] = (first ? bias[n] : c[z, m, n]) + 2^shift sum over k in [from, to) of a[z, m, k] b[z, n, k]
//
// with k in units of 16 bytes, `units` a row, and at most 4096 of them at a time, so that the sums are exact in int32.
// A block makes a tile of 128 by 128, each of its four warps a quarter; steps of four units arrive in shared memory while
// the step before last is worked on. Units lie so that eight rows of one unit are in different banks.
#include "field.cuh"

#define SIDE 128
#define UNITS 4
#define STAGES 3
#define PLACE(row, unit) ((row) * UNITS + ((unit) ^ ((row) >> 1 & 3)))
// Rows of tiles whose blocks follow one another, so that they find the other matrix in the cache.
#define GROUP 8

KERNEL(gemm_tensor)(const Quad *a, const Quad *b, const int64_t *bias, int64_t *c, uint32_t m, uint32_t n, uint32_t units,
                    uint32_t from, uint32_t to, uint32_t shift, uint32_t first, uint32_t b_batch) {
    SHARED(Quad, tiles, STAGES * 2 * SIDE * UNITS);
    uint64_t z = BLOCK_Y;
    uint32_t across = (n + SIDE - 1) / SIDE, down = (m + SIDE - 1) / SIDE;
    uint32_t group = BLOCK_X / (GROUP * across) * GROUP, rows = down - group < GROUP ? down - group : GROUP;
    uint32_t first_row = (group + BLOCK_X % (GROUP * across) % rows) * SIDE;
    uint32_t first_column = BLOCK_X % (GROUP * across) / rows * SIDE;
    // A thread fetches one unit of every 32nd row of both tiles; bit e of a mask says that row e is outside.
    const uint32_t unit = THREAD % UNITS, line = THREAD / UNITS;
    const Quad *next_a = a + (z * m + first_row + line) * units + from + unit;
    const Quad *next_b = b + ((b_batch == 1 ? 0 : z) * n + first_column + line) * units + from + unit;
    uint32_t outside_a = 0, outside_b = 0;
    for (uint32_t e = 0; e < 4; e++) {
        outside_a |= (uint32_t)(first_row + line + 32 * e >= m) << e;
        outside_b |= (uint32_t)(first_column + line + 32 * e >= n) << e;
    }
    auto fetch = [&](uint32_t step) INLINE {
        Quad *tile = tiles + step % STAGES * (2 * SIDE * UNITS) + PLACE(line, unit);
        bool beyond = from + step * UNITS + unit >= to;
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            copy_later(tile + 32 * e * UNITS, next_a + (uint64_t)(32 * e) * units, beyond | (outside_a >> e & 1));
            copy_later(tile + (SIDE + 32 * e) * UNITS, next_b + (uint64_t)(32 * e) * units, beyond | (outside_b >> e & 1));
        }
        join_copies();
        next_a += UNITS, next_b += UNITS;
    };

    int32_t sums[4][8][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int k = 0; k < 4; k++) sums[i][j][k] = 0;
    uint32_t warp = THREAD / 32, row = warp / 2 * 64, column = warp % 2 * 64;
    uint32_t steps = (to - from + UNITS - 1) / UNITS;
    for (uint32_t step = 0; step < STAGES - 1; step++) fetch(step);
    for (uint32_t step = 0; step < steps; step++) {
        wait_for_copies<STAGES - 2>();
        BARRIER(12);
        // What is overwritten was read before the barrier. Beyond the end these are zeros, which keep the count of groups.
        fetch(step + STAGES - 1);
        const Quad *tile_a = tiles + step % STAGES * (2 * SIDE * UNITS), *tile_b = tile_a + SIDE * UNITS;
#pragma unroll
        for (uint32_t half = 0; half < UNITS; half += 2) {
            uint32_t left[4][4], right[4][4];
#pragma unroll
            for (uint32_t i = 0; i < 4; i++)
                load_matrices(left[i], [=](uint32_t lane) INLINE {
                    return &tile_a[PLACE(row + i * 16 + lane % 16, half + lane / 16)];
                });
#pragma unroll
            for (uint32_t j = 0; j < 4; j++)
                load_matrices(right[j], [=](uint32_t lane) INLINE {
                    return &tile_b[PLACE(column + j * 16 + lane / 16 * 8 + lane % 8, half + lane / 8 % 2)];
                });
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    multiply_matrices(sums[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int k = 0; k < 4; k++) {
                uint32_t r = first_row + row + i * 16 + THREAD % 32 / 4 + k / 2 * 8;
                uint32_t s = first_column + column + j * 8 + THREAD % 4 * 2 + k % 2;
                if (r >= m || s >= n) continue;
                int64_t *out = &c[(z * m + r) * n + s];
                uint64_t before = first ? (bias ? (uint64_t)bias[s] : 0) : (uint64_t)*out;
                *out = (int64_t)(before + ((uint64_t)(int64_t)sums[i][j][k] << shift));
            }
}
EXPORT(gemm_tensor)

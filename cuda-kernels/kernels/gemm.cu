// Products of matrices of bytes on tensor cores:
//
//     c[z, m, n] = (first ? bias[n] : c[z, m, n]) + 2^shift sum over k in [from, to) of a[z, m, k] b[z, n, k]
//
// with k in units of 16 bytes, `units` a row, and at most 4096 of them at a time, so that the sums are exact in int32.
// A block makes a tile of 128 by 128, each of its four warps 64 by 64 of it; steps of four units arrive in shared memory
// while earlier ones are worked on. Units lie so that eight rows of one unit are in different banks.
#include "field.cuh"

#define ROWS 128
#define COLUMNS 128
#define STAGES 4
#define UNITS 4
#define STAGE ((ROWS + COLUMNS) * UNITS)
#define PLACE(row, unit) ((row) * UNITS + ((unit) ^ ((row) >> 1 & 3)))
// Rows that the threads of a block fetch at once: four units each.
#define LINES (ROWS / 64 * (COLUMNS / 64) * 32 / UNITS)
// Rows of tiles whose blocks follow one another, so that they find the other matrix in the cache.
#define GROUP 8

// What a warp multiplies at a time: 64 rows of both operands, two units of each.
struct Fragments {
    uint32_t left[4][4], right[4][4];

    DEVICE void load(const Quad *stage, uint32_t row, uint32_t column, uint32_t half) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            load_matrices(left[i], [=](uint32_t lane) INLINE {
                return &stage[PLACE(row + i * 16 + lane % 16, half + lane / 16)];
            });
#pragma unroll
        for (uint32_t j = 0; j < 4; j++)
            load_matrices(right[j], [=](uint32_t lane) INLINE {
                return &stage[PLACE(ROWS + column + j * 16 + lane / 16 * 8 + lane % 8, half + lane / 8 % 2)];
            });
    }
    DEVICE void multiply(int32_t (&sums)[4][8][4]) const {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 8; j++)
                multiply_matrices(sums[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
    }
};

KERNEL(gemm_tensor)(const Quad *a, const Quad *b, const int64_t *bias, int64_t *c, uint32_t m, uint32_t n, uint32_t units,
                    uint32_t from, uint32_t to, uint32_t shift, uint32_t first, uint32_t b_batch) {
    SHARED_AT_LAUNCH(Quad, tiles, STAGES * STAGE);
    uint64_t z = BLOCK_Y;
    uint32_t across = (n + COLUMNS - 1) / COLUMNS, down = (m + ROWS - 1) / ROWS;
    uint32_t group = BLOCK_X / (GROUP * across) * GROUP, rows = down - group < GROUP ? down - group : GROUP;
    uint32_t first_row = (group + BLOCK_X % (GROUP * across) % rows) * ROWS;
    uint32_t first_column = BLOCK_X % (GROUP * across) / rows * COLUMNS;
    // A thread fetches one unit of every LINES-th row of both tiles; bit e of a mask says that row e is outside.
    const uint32_t unit = THREAD % UNITS, line = THREAD / UNITS;
    const Quad *next_a = a + (z * m + first_row + line) * units + from + unit;
    const Quad *next_b = b + ((b_batch == 1 ? 0 : z) * n + first_column + line) * units + from + unit;
    uint32_t outside_a = 0, outside_b = 0;
    for (uint32_t e = 0; e < ROWS / LINES; e++) outside_a |= (uint32_t)(first_row + line + LINES * e >= m) << e;
    for (uint32_t e = 0; e < COLUMNS / LINES; e++) outside_b |= (uint32_t)(first_column + line + LINES * e >= n) << e;
    auto fetch = [&](uint32_t step) INLINE {
        Quad *tile = tiles + step % STAGES * STAGE + PLACE(line, unit);
        bool beyond = from + step * UNITS + unit >= to;
#pragma unroll
        for (uint32_t e = 0; e < ROWS / LINES; e++)
            copy_later(tile + LINES * e * UNITS, next_a + (uint64_t)(LINES * e) * units, beyond | (outside_a >> e & 1));
#pragma unroll
        for (uint32_t e = 0; e < COLUMNS / LINES; e++)
            copy_later(tile + (ROWS + LINES * e) * UNITS, next_b + (uint64_t)(LINES * e) * units, beyond | (outside_b >> e & 1));
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
    uint32_t warp = THREAD / 32, row = warp / (COLUMNS / 64) * 64, column = warp % (COLUMNS / 64) * 64;
    uint32_t steps = (to - from + UNITS - 1) / UNITS;
    // What is multiplied was loaded while what came before it was multiplied.
    Fragments even, odd;
    for (uint32_t step = 0; step < STAGES - 1; step++) fetch(step);
    wait_for_copies<STAGES - 2>();
    BARRIER(12);
    even.load(tiles, row, column, 0);
    for (uint32_t step = 0; step < steps; step++) {
        odd.load(tiles + step % STAGES * STAGE, row, column, 2);
        // What is overwritten was read before the last barrier. Beyond the end these are zeros, which keep the count.
        fetch(step + STAGES - 1);
        even.multiply(sums);
        wait_for_copies<STAGES - 2>();
        BARRIER(16);
        even.load(tiles + (step + 1) % STAGES * STAGE, row, column, 0);
        odd.multiply(sums);
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

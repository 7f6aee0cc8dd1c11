// Inference, equal bit for bit to the interpreter of assay-circuits. A tensor is an array of int64, a batch of them one
// after another. Linear operators split their operands into balanced bytes,
//
//     x = sum_p 256^p d_p,  -128 <= d_p <= 127,          x y = sum_(p,q) 256^(p+q) d_p e_q,
//
// so that an operand of 8 bits is one plane of bytes, one of 16 bits two, and dot products of planes are exact in int32
// for DEPTH terms. Sums of planes are taken modulo 2^64; the graph's static bounds say that the whole fits an int64.
#include "portable.cuh"

// Thread tile and block tile of a product of matrices; words of four bytes of the inner axis that a step loads.
#define SIDE 4
#define TILE 64
#define STEP 16
// Words of the inner axis after which the int32 sums are added to the int64 ones: 4 * 2^14 * 128 * 128 = 2^30.
#define DEPTH 16384

// planes[p, z, r, k] = d_p of x[z zs + r rs + k ks]; zeros for k in inner .. padded.
KERNEL(split)(const int64_t *x, int8_t *planes, uint32_t count, uint32_t rows, uint32_t inner, uint32_t padded,
              uint32_t batch, uint64_t zs, uint64_t rs, uint64_t ks) {
    uint64_t i = element(), size = (uint64_t)batch * rows * padded;
    if (i >= size) return;
    uint64_t k = i % padded, r = i / padded % rows, z = i / padded / rows;
    int64_t value = k < inner ? x[z * zs + r * rs + k * ks] : 0;
    for (uint32_t p = 0; p < count; p++) {
        int8_t digit = (int8_t)(uint8_t)value;
        planes[p * size + i] = digit;
        value = (value - digit) >> 8;
    }
}
EXPORT(split)

// The sums of a thread's SIDE by SIDE outputs.
struct Sums {
    uint64_t total[SIDE][SIDE];
    int32_t part[SIDE][SIDE];

    DEVICE void clear() {
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) total[i][j] = 0, part[i][j] = 0;
    }
    DEVICE void flush(uint32_t shift) {
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                total[i][j] += (uint64_t)(int64_t)part[i][j] << shift;
                part[i][j] = 0;
            }
    }
};

// Adds the products of the tiles of two planes. `A(row, word)` and `B(column, word)` load four bytes, 0 outside.
template <class A, class B>
DEVICE void multiply_tiles(Sums &sums, int32_t *tile_a, int32_t *tile_b, const A &a, const B &b, uint32_t words,
                           uint32_t shift) {
    uint32_t row = THREAD / (TILE / SIDE), column = THREAD % (TILE / SIDE);
    for (uint32_t from = 0; from < words; from += STEP) {
        for (uint32_t i = THREAD; i < TILE * STEP; i += THREADS) {
            tile_a[i / STEP * (STEP + 1) + i % STEP] = a(i / STEP, from + i % STEP);
            tile_b[i / STEP * (STEP + 1) + i % STEP] = b(i / STEP, from + i % STEP);
        }
        BARRIER(1);
        for (uint32_t k = 0; k < STEP; k++) {
            int32_t left[SIDE], right[SIDE];
            for (int i = 0; i < SIDE; i++) left[i] = tile_a[(row + i * (TILE / SIDE)) * (STEP + 1) + k];
            for (int j = 0; j < SIDE; j++) right[j] = tile_b[(column + j * (TILE / SIDE)) * (STEP + 1) + k];
            for (int i = 0; i < SIDE; i++)
                for (int j = 0; j < SIDE; j++) sums.part[i][j] = dot4(left[i], right[j], sums.part[i][j]);
        }
        BARRIER(2);
        if ((from / STEP + 1) % (DEPTH / STEP) == 0) sums.flush(shift);
    }
    sums.flush(shift);
}

// c[z, m, n] = bias[n] + sum_k a[z, m, k] b[z, n, k]; planes of words, `b_batch` 1 if all z share b, bias may be absent.
KERNEL(gemm)(const int32_t *a, const int32_t *b, const int64_t *bias, int64_t *c, uint32_t m, uint32_t n,
             uint32_t words, uint32_t a_planes, uint32_t b_planes, uint32_t batch, uint32_t b_batch) {
    SHARED(int32_t, tile_a, TILE *(STEP + 1));
    SHARED(int32_t, tile_b, TILE *(STEP + 1));
    uint64_t z = BLOCK_Z;
    uint32_t first_row = BLOCK_Y * TILE, first_column = BLOCK_X * TILE;
    Sums sums;
    sums.clear();
    for (uint32_t p = 0; p < a_planes; p++)
        for (uint32_t q = 0; q < b_planes; q++) {
            const int32_t *plane_a = a + ((uint64_t)p * batch + z) * m * words;
            const int32_t *plane_b = b + ((uint64_t)q * b_batch + (b_batch == 1 ? 0 : z)) * n * words;
            auto load_a = [&](uint32_t row, uint32_t k) {
                row += first_row;
                return row < m && k < words ? plane_a[(uint64_t)row * words + k] : 0;
            };
            auto load_b = [&](uint32_t column, uint32_t k) {
                column += first_column;
                return column < n && k < words ? plane_b[(uint64_t)column * words + k] : 0;
            };
            // Planes whose weight is 2^64 or more do not change an int64.
            if (p + q < 8) multiply_tiles(sums, tile_a, tile_b, load_a, load_b, words, 8 * (p + q));
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            uint32_t row = first_row + THREAD / (TILE / SIDE) + i * (TILE / SIDE);
            uint32_t column = first_column + THREAD % (TILE / SIDE) + j * (TILE / SIDE);
            if (row < m && column < n)
                c[(z * m + row) * n + column] = (int64_t)(sums.total[i][j] + (bias ? (uint64_t)bias[column] : 0));
        }
}
EXPORT(gemm)

// Sizes of a convolution or pool, in the order in which the host writes them.
struct Image {
    uint32_t batch, channels, height, width, out_channels, out_height, out_width, kernel_height, kernel_width;
    uint32_t stride_y, stride_x, pad_top, pad_left, dilation_y, dilation_x, depth, group;

    // Where a tap of an output position lies in a channel of the image; false in the padding.
    DEVICE bool tap(uint32_t position, uint32_t ky, uint32_t kx, uint64_t &at) const {
        uint32_t y = position / out_width * stride_y + ky * dilation_y - pad_top;
        uint32_t x = position % out_width * stride_x + kx * dilation_x - pad_left;
        at = (uint64_t)y * width + x;
        // A tap above or left of the image has wrapped around and is no less outside.
        return y < height && x < width;
    }
    DEVICE uint64_t area() const { return (uint64_t)out_height * out_width; }
};

// A convolution as a product of matrices that is never made: row = (image, position), column = channel of the group,
// inner = (channel, ky, kx). y[image, channel, position]; one group along z.
KERNEL(convolve)(const int8_t *x, const int32_t *weights, const int64_t *bias, int64_t *y, const Image *image,
                 uint32_t words, uint32_t x_planes, uint32_t w_planes, uint32_t groups) {
    SHARED(int32_t, tile_a, TILE *(STEP + 1));
    SHARED(int32_t, tile_b, TILE *(STEP + 1));
    const Image g = *image;
    uint64_t pixels = (uint64_t)g.height * g.width, plane = (uint64_t)g.batch * g.channels * pixels;
    uint64_t rows = g.batch * g.area();
    uint32_t taps = g.kernel_height * g.kernel_width, inner = g.depth * taps;
    uint64_t first_row = (uint64_t)BLOCK_Y * TILE;
    uint32_t first_column = BLOCK_X * TILE;
    Sums sums;
    sums.clear();
    for (uint32_t p = 0; p < x_planes; p++)
        for (uint32_t q = 0; q < w_planes; q++) {
            const int8_t *plane_x = x + p * plane;
            const int32_t *plane_w = weights + ((uint64_t)q * groups + BLOCK_Z) * g.group * words;
            auto load_x = [&](uint32_t row, uint32_t word) {
                uint64_t r = first_row + row;
                uint32_t packed = 0;
                if (r < rows)
                    for (uint32_t i = 0; i < 4; i++) {
                        uint32_t k = word * 4 + i;
                        uint64_t at;
                        if (k >= inner || !g.tap((uint32_t)(r % g.area()), k % taps / g.kernel_width, k % g.kernel_width, at))
                            continue;
                        uint64_t channel = r / g.area() * g.channels + BLOCK_Z * g.depth + k / taps;
                        packed |= (uint32_t)(uint8_t)plane_x[channel * pixels + at] << 8 * i;
                    }
                return (int32_t)packed;
            };
            auto load_w = [&](uint32_t column, uint32_t k) {
                column += first_column;
                return column < g.group && k < words ? plane_w[(uint64_t)column * words + k] : 0;
            };
            if (p + q < 8) multiply_tiles(sums, tile_a, tile_b, load_x, load_w, words, 8 * (p + q));
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            uint64_t row = first_row + THREAD / (TILE / SIDE) + i * (TILE / SIDE);
            uint32_t column = first_column + THREAD % (TILE / SIDE) + j * (TILE / SIDE);
            if (row >= rows || column >= g.group) continue;
            uint64_t channel = (uint64_t)BLOCK_Z * g.group + column;
            y[(row / g.area() * g.out_channels + channel) * g.area() + row % g.area()] =
                (int64_t)(sums.total[i][j] + (uint64_t)bias[channel]);
        }
}
EXPORT(convolve)

// The same, one thread an output: for depthwise convolutions, whose groups are too narrow for tiles.
KERNEL(convolve_direct)(const int64_t *x, const int32_t *weights, const int64_t *bias, int64_t *y, const Image *image) {
    const Image g = *image;
    uint64_t i = element(), pixels = (uint64_t)g.height * g.width;
    if (i >= g.batch * g.out_channels * g.area()) return;
    uint32_t position = (uint32_t)(i % g.area()), channel = (uint32_t)(i / g.area() % g.out_channels);
    uint64_t first = i / g.area() / g.out_channels * g.channels + (uint64_t)(channel / g.group) * g.depth;
    uint64_t sum = (uint64_t)bias[channel];
    for (uint32_t ky = 0; ky < g.kernel_height; ky++)
        for (uint32_t kx = 0; kx < g.kernel_width; kx++) {
            uint64_t at;
            if (!g.tap(position, ky, kx, at)) continue;
            for (uint32_t c = 0; c < g.depth; c++) {
                uint64_t w = (((uint64_t)channel * g.depth + c) * g.kernel_height + ky) * g.kernel_width + kx;
                sum += (uint64_t)(int64_t)weights[w] * (uint64_t)x[(first + c) * pixels + at];
            }
        }
    y[i] = (int64_t)sum;
}
EXPORT(convolve_direct)

// y[b, o] = bias[o] + sum of the taps before ends[o].
KERNEL(sparse)(const int64_t *x, const int64_t *bias, const uint32_t *ends, const uint32_t *taps, const int32_t *weights,
               int64_t *y, uint64_t batch, uint32_t inputs, uint32_t outputs) {
    uint64_t i = element();
    if (i >= batch * outputs) return;
    uint32_t o = (uint32_t)(i % outputs);
    const int64_t *from = x + i / outputs * inputs;
    uint64_t sum = (uint64_t)bias[o];
    for (uint32_t t = o ? ends[o - 1] : 0; t < ends[o]; t++) sum += (uint64_t)(int64_t)weights[t] * (uint64_t)from[taps[t]];
    y[i] = (int64_t)sum;
}
EXPORT(sparse)

// y = (first ? bias : y) + factor x.
KERNEL(combine)(const int64_t *x, int64_t *y, uint64_t n, int64_t factor, int64_t bias, uint32_t first) {
    uint64_t i = element();
    if (i < n) y[i] = (int64_t)((uint64_t)(first ? bias : y[i]) + (uint64_t)factor * (uint64_t)x[i]);
}
EXPORT(combine)

// y[b, i] = x[b, index[i] - from] where that is an element of x; elsewhere 0 the first time, and unchanged later.
KERNEL(select)(const int64_t *x, const uint32_t *index, int64_t *y, uint64_t batch, uint32_t outputs, uint32_t from,
               uint32_t count, uint32_t first) {
    uint64_t i = element();
    if (i >= batch * outputs) return;
    uint32_t at = index[i % outputs] - from;
    if (at < count) y[i] = x[i / outputs * count + at];
    else if (first) y[i] = 0;
}
EXPORT(select)

KERNEL(multiply)(const int64_t *a, const int64_t *b, int64_t *y, uint64_t n) {
    uint64_t i = element();
    if (i < n) y[i] = (int64_t)((uint64_t)a[i] * (uint64_t)b[i]);
}
EXPORT(multiply)

KERNEL(max_pool)(const int64_t *x, int64_t *y, const Image *image) {
    const Image g = *image;
    uint64_t i = element();
    if (i >= g.batch * g.out_channels * g.area()) return;
    const int64_t *from = x + i / g.area() * g.height * g.width;
    int64_t max = INT64_MIN;
    for (uint32_t ky = 0; ky < g.kernel_height; ky++)
        for (uint32_t kx = 0; kx < g.kernel_width; kx++) {
            uint64_t at;
            if (g.tap((uint32_t)(i % g.area()), ky, kx, at) && from[at] > max) max = from[at];
        }
    y[i] = max;
}
EXPORT(max_pool)

// y[i] = max over j < group of x[i group + j].
KERNEL(max_group)(const int64_t *x, int64_t *y, uint64_t n, uint32_t group) {
    uint64_t i = element();
    if (i >= n) return;
    int64_t max = x[i * group];
    for (uint32_t j = 1; j < group; j++)
        if (x[i * group + j] > max) max = x[i * group + j];
    y[i] = max;
}
EXPORT(max_group)

// y = values[x - lo], the nearest one beyond the ends.
KERNEL(table)(const int64_t *x, const int32_t *values, int64_t *y, uint64_t n, int64_t lo, uint32_t rows) {
    uint64_t i = element();
    if (i >= n) return;
    int64_t row = x[i] - lo;
    y[i] = values[row < 0 ? 0 : row >= rows ? rows - 1 : row];
}
EXPORT(table)

// y = clamp((x + 2^(shift-1)) >> shift, lo, hi), the shift rounding down.
KERNEL(requantize)(const int64_t *x, int64_t *y, uint64_t n, uint32_t shift, int32_t lo, int32_t hi) {
    uint64_t i = element();
    if (i >= n) return;
    int64_t q = (x[i] + ((int64_t)1 << (shift - 1))) >> shift;
    y[i] = q < lo ? lo : q > hi ? hi : q;
}
EXPORT(requantize)

// y = floor(sqrt(max(x, 0))), bit by bit.
KERNEL(root)(const int64_t *x, int64_t *y, uint64_t n) {
    uint64_t i = element();
    if (i >= n) return;
    uint64_t value = x[i] > 0 ? (uint64_t)x[i] : 0, r = 0;
    for (uint64_t bit = (uint64_t)1 << 31; bit; bit >>= 1)
        if ((r | bit) * (r | bit) <= value) r |= bit;
    y[i] = (int64_t)r;
}
EXPORT(root)

// sum_i k_i P_i by Pippenger's method with signed digits:
//
//     digits    k_i = sum_w 2^(c w) d_(i,w), |d| <= 2^(c-1), of min(k, r - k), so that a small negative number is small
//     sort      the points of each window by |d|: count, running sums, scatter
//     sum       S_b = sum of the points of bucket b, by segments of equal length, whatever the lengths of buckets are:
//               quantised networks have scalars that are mostly 0 or few values, so most points share few buckets
//     weigh     sum_b (b + 1) S_b for each window, by slices
//
// The host doubles and adds up the windows. Points grouped by a number that each has are the first three steps of one
// window; their sums become affine, to be multiplied in turn. Windows lie along y; `stride` is the room of one window in the array it is said of.
#include "curve.cuh"

#define SIGN 0x80000000u

DEVICE void put_digit(uint32_t *digits, uint32_t *counts, uint64_t at, uint64_t first_bucket, uint32_t digit, uint32_t sign) {
    digits[at] = digit ? digit | sign : 0;
    if (digit) add_atomically(&counts[first_bucket + digit - 1], 1);
}

// Digits of a number of eight words; `windows * c` bits hold it and a carry.
DEVICE void put_digits(const uint32_t *words, uint32_t sign, uint32_t *digits, uint32_t *counts, uint64_t i, uint32_t n,
                       uint32_t c, uint32_t windows, uint32_t buckets) {
    uint32_t carry = 0;
    for (uint32_t w = 0; w < windows; w++) {
        uint32_t bit = w * c, word = bit / 32;
        uint64_t low = word < 8 ? words[word] : 0, high = word + 1 < 8 ? words[word + 1] : 0;
        uint32_t digit = ((uint32_t)((high << 32 | low) >> bit % 32) & ((1u << c) - 1)) + carry;
        carry = digit > 1u << (c - 1);
        uint32_t flip = carry ? SIGN : 0;
        if (carry) digit = (1u << c) - digit;
        put_digit(digits, counts, (uint64_t)w * n + i, (uint64_t)w * buckets, digit, sign ^ flip);
    }
}

KERNEL(digits_field)(const Scalar *scalars, uint32_t *digits, uint32_t *counts, uint32_t n, uint32_t c, uint32_t windows,
                     uint32_t buckets) {
    uint64_t i = element();
    if (i >= n) return;
    Scalar unit = Scalar::zero();
    unit.v[0] = 1;
    // A product with 1 divides by R.
    Scalar value = scalars[i] * unit, negative = Scalar::zero() - value;
    bool less = false;
    for (int k = 0; k < 8; k++)
        if (negative.v[k] != value.v[k]) less = negative.v[k] < value.v[k];
    put_digits(less ? negative.v : value.v, less ? SIGN : 0, digits, counts, i, n, c, windows, buckets);
}
EXPORT(digits_field)

KERNEL(digits_small)(const int64_t *scalars, uint32_t *digits, uint32_t *counts, uint32_t n, uint32_t c, uint32_t windows,
                     uint32_t buckets) {
    uint64_t i = element();
    if (i >= n) return;
    uint64_t magnitude = scalars[i] < 0 ? 0 - (uint64_t)scalars[i] : (uint64_t)scalars[i];
    uint32_t words[8] = {(uint32_t)magnitude, (uint32_t)(magnitude >> 32), 0, 0, 0, 0, 0, 0};
    put_digits(words, scalars[i] < 0 ? SIGN : 0, digits, counts, i, n, c, windows, buckets);
}
EXPORT(digits_small)

KERNEL(digits_group)(const uint32_t *groups, uint32_t *digits, uint32_t *counts, uint32_t n) {
    uint64_t i = element();
    if (i < n) put_digit(digits, counts, i, 0, groups[i] + 1, 0);
}
EXPORT(digits_group)

// counts[b] becomes the number of points in buckets before b; totals[w] all of a window. One block a window.
#define SCAN 256
KERNEL(scan)(uint32_t *counts, uint32_t *totals, uint32_t buckets) {
    SHARED(uint32_t, sums, SCAN);
    uint32_t *of = counts + (uint64_t)BLOCK_X * buckets;
    uint64_t each = (buckets + SCAN - 1) / SCAN, from = THREAD * each, to = from + each;
    if (to > buckets) to = buckets;
    uint32_t sum = 0;
    for (uint64_t b = from; b < to; b++) sum += of[b];
    sums[THREAD] = sum;
    BARRIER(7);
    for (uint32_t step = 1; step < SCAN; step *= 2) {
        uint32_t before = THREAD >= step ? sums[THREAD - step] : 0;
        BARRIER(8);
        sums[THREAD] += before;
        BARRIER(9);
    }
    uint32_t start = sums[THREAD] - sum;
    for (uint64_t b = from; b < to; b++) {
        uint32_t count = of[b];
        of[b] = start;
        start += count;
    }
    if (THREAD == SCAN - 1) totals[BLOCK_X] = sums[THREAD];
}
EXPORT(scan)

// `starts` move as places are taken; points of a bucket come in any order, their sum is the same.
KERNEL(scatter)(const uint32_t *digits, uint32_t *starts, uint32_t *keys, uint32_t *points, uint32_t n, uint32_t buckets) {
    uint64_t i = element(), window = (uint64_t)BLOCK_Y * n;
    if (i >= n) return;
    uint32_t digit = digits[window + i];
    if (!digit) return;
    uint32_t bucket = (digit & ~SIGN) - 1;
    uint32_t at = add_atomically(&starts[(uint64_t)BLOCK_Y * buckets + bucket], 1);
    keys[window + at] = bucket;
    points[window + at] = (uint32_t)i | (digit & SIGN);
}
EXPORT(scatter)

// One level of sums. A thread adds up a segment of `length` entries, sorted by key. What begins and ends inside goes to
// its bucket. The first and the last run may go on beyond the segment: they become two entries of the next level, a
// lone run one entry and a neutral one. On the last level, a single segment, nothing goes on. So every bucket is written
// once at most, and `bucket_sums` is zero before.
template <class F, class Entry>
DEVICE void sum_segment(const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes, Point<F> *bucket_sums,
                        uint32_t *next_keys, Point<F> *next_sums, uint32_t buckets, uint32_t length, uint32_t next_stride,
                        const Entry &add_entry) {
    uint64_t segment = element(), window = BLOCK_Y;
    uint32_t size = sizes[window];
    bool last = size <= length;
    if (segment == 0) next_sizes[window] = last ? 0 : 2 * ((size + length - 1) / length);
    uint64_t from = segment * length, to = from + length < size ? from + length : size;
    if (from >= size) return;
    Point<F> *sums = bucket_sums + window * buckets;
    uint64_t next = window * next_stride + 2 * segment;
    uint32_t key = keys[from];
    bool first = true;
    Point<F> sum;
    sum.clear();
    for (uint64_t i = from; i < to; i++) {
        if (keys[i] != key) {
            if (first && !last) {
                next_keys[next] = key;
                copy(next_sums[next], sum);
            } else copy(sums[key], sum);
            first = false;
            key = keys[i];
            sum.clear();
        }
        add_entry(sum, i);
    }
    if (last) {
        copy(sums[key], sum);
        return;
    }
    if (first) {
        next_keys[next] = key;
        copy(next_sums[next], sum);
        sum.clear();
    }
    next_keys[next + 1] = key;
    copy(next_sums[next + 1], sum);
}

template <class F>
DEVICE void sum_points(const Affine<F> *bases, const uint32_t *points, const uint32_t *keys, const uint32_t *sizes,
                       uint32_t *next_sizes, Point<F> *bucket_sums, uint32_t *next_keys, Point<F> *next_sums,
                       uint32_t buckets, uint32_t length, uint32_t stride, uint32_t next_stride) {
    const uint32_t *list = points + (uint64_t)BLOCK_Y * stride;
    auto add_entry = [&](Point<F> &sum, uint64_t i) INLINE {
        Affine<F> p = load(&bases[list[i] & ~SIGN]);
        if (list[i] & SIGN) p.y = F::zero() - p.y;
        add(sum, p);
    };
    sum_segment<F>(keys + (uint64_t)BLOCK_Y * stride, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, length,
                   next_stride, add_entry);
}

template <class F>
DEVICE void merge(const Point<F> *from, const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes,
                  Point<F> *bucket_sums, uint32_t *next_keys, Point<F> *next_sums, uint32_t buckets, uint32_t length,
                  uint32_t stride, uint32_t next_stride) {
    const Point<F> *list = from + (uint64_t)BLOCK_Y * stride;
    auto add_entry = [&](Point<F> &sum, uint64_t i) INLINE { add(sum, list[i]); };
    sum_segment<F>(keys + (uint64_t)BLOCK_Y * stride, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, length,
                   next_stride, add_entry);
}

// The same level for few entries: a block takes LEAVES of them, and in every round each entry adds the one that is 1, 2, 4 ..
// after it if that is of its bucket, so that the first of a run becomes the run's sum. More additions, but the longest
// chain of them is the logarithm.
#define LEAVES 128
template <class F>
DEVICE void merge_tree(const Point<F> *from, const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes,
                       Point<F> *bucket_sums, uint32_t *next_keys, Point<F> *next_sums, uint32_t buckets, uint32_t stride,
                       uint32_t next_stride, uint32_t *of, Point<F> *sums) {
    uint64_t window = BLOCK_Y, first = (uint64_t)BLOCK_X * LEAVES;
    uint32_t size = sizes[window], i = THREAD;
    bool last = size <= LEAVES;
    if (BLOCK_X == 0 && i == 0) next_sizes[window] = last ? 0 : 2 * ((size + LEAVES - 1) / LEAVES);
    // All threads of a block agree on it.
    if (first >= size) return;
    uint32_t count = size - first < LEAVES ? (uint32_t)(size - first) : LEAVES;
    if (i < count) {
        of[i] = keys[window * stride + first + i];
        copy(sums[i], from[window * stride + first + i]);
    }
    BARRIER(13);
    for (uint32_t step = 1; step < count; step *= 2) {
        bool joins = i + step < count && of[i + step] == of[i];
        Point<F> other;
        if (joins) copy(other, sums[i + step]);
        BARRIER(14);
        if (joins) add(sums[i], other);
        BARRIER(15);
    }
    if (i >= count || (i && of[i - 1] == of[i])) return;
    uint64_t next = window * next_stride + 2 * (uint64_t)BLOCK_X;
    bool to_the_end = of[count - 1] == of[i];
    if (last || (i && !to_the_end)) {
        copy(bucket_sums[window * buckets + of[i]], sums[i]);
        return;
    }
    uint64_t at = i ? next + 1 : next;
    next_keys[at] = of[i];
    copy(next_sums[at], sums[i]);
    if (i || !to_the_end) return;
    // A lone run.
    Point<F> none;
    none.clear();
    next_keys[next + 1] = of[i];
    copy(next_sums[next + 1], none);
}

// out[w, block] = sum of (b + 1) S_b over a slice of the buckets for each thread, then over the block.
#define WEIGH 64
template <class F>
DEVICE void weigh(const Point<F> *bucket_sums, Point<F> *out, uint32_t buckets, Point<F> *shared) {
    uint64_t threads = (uint64_t)BLOCKS_X * WEIGH, each = (buckets + threads - 1) / threads;
    uint64_t from = element() * each, to = from + each < buckets ? from + each : buckets;
    const Point<F> *sums = bucket_sums + (uint64_t)BLOCK_Y * buckets;
    Point<F> all, weighed;
    all.clear(), weighed.clear();
    for (uint64_t b = to; b-- > from;) {
        add(all, sums[b]);
        add(weighed, all);
    }
    // Bucket b has weight b + 1 - from so far.
    if (from < to) {
        Point<F> times;
        times.clear();
        int top = 31;
        while (top >= 0 && !(from >> top)) top--;
        for (int bit = top; bit >= 0; bit--) {
            twice(times);
            if (from >> bit & 1) add(times, all);
        }
        add(weighed, times);
    }
    copy(shared[THREAD], weighed);
    BARRIER(10);
    for (uint32_t half = WEIGH / 2; half; half /= 2) {
        if (THREAD < half) add(shared[THREAD], shared[THREAD + half]);
        BARRIER(11);
    }
    if (THREAD == 0) copy(out[(uint64_t)BLOCK_Y * BLOCKS_X + BLOCK_X], shared[0]);
}

KERNEL(sum_points_g1)(const Affine<Base> *bases, const uint32_t *points, const uint32_t *keys, const uint32_t *sizes,
                      uint32_t *next_sizes, Point<Base> *bucket_sums, uint32_t *next_keys, Point<Base> *next_sums,
                      uint32_t buckets, uint32_t length, uint32_t stride, uint32_t next_stride) {
    sum_points(bases, points, keys, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, length, stride, next_stride);
}
EXPORT(sum_points_g1)
KERNEL(sum_points_g2)(const Affine<Quadratic> *bases, const uint32_t *points, const uint32_t *keys, const uint32_t *sizes,
                      uint32_t *next_sizes, Point<Quadratic> *bucket_sums, uint32_t *next_keys,
                      Point<Quadratic> *next_sums, uint32_t buckets, uint32_t length, uint32_t stride,
                      uint32_t next_stride) {
    sum_points(bases, points, keys, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, length, stride, next_stride);
}
EXPORT(sum_points_g2)
KERNEL(merge_g1)(const Point<Base> *from, const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes,
                 Point<Base> *bucket_sums, uint32_t *next_keys, Point<Base> *next_sums, uint32_t buckets, uint32_t length,
                 uint32_t stride, uint32_t next_stride) {
    merge(from, keys, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, length, stride, next_stride);
}
EXPORT(merge_g1)
KERNEL(merge_g2)(const Point<Quadratic> *from, const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes,
                 Point<Quadratic> *bucket_sums, uint32_t *next_keys, Point<Quadratic> *next_sums, uint32_t buckets,
                 uint32_t length, uint32_t stride, uint32_t next_stride) {
    merge(from, keys, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, length, stride, next_stride);
}
EXPORT(merge_g2)
KERNEL(merge_tree_g1)(const Point<Base> *from, const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes,
                      Point<Base> *bucket_sums, uint32_t *next_keys, Point<Base> *next_sums, uint32_t buckets,
                      uint32_t stride, uint32_t next_stride) {
    SHARED(uint32_t, of, LEAVES);
    SHARED(Point<Base>, sums, LEAVES);
    merge_tree(from, keys, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, stride, next_stride, of, sums);
}
EXPORT(merge_tree_g1)
KERNEL(merge_tree_g2)(const Point<Quadratic> *from, const uint32_t *keys, const uint32_t *sizes, uint32_t *next_sizes,
                      Point<Quadratic> *bucket_sums, uint32_t *next_keys, Point<Quadratic> *next_sums, uint32_t buckets,
                      uint32_t stride, uint32_t next_stride) {
    SHARED(uint32_t, of, LEAVES);
    SHARED(Point<Quadratic>, sums, LEAVES);
    merge_tree(from, keys, sizes, next_sizes, bucket_sums, next_keys, next_sums, buckets, stride, next_stride, of, sums);
}
EXPORT(merge_tree_g2)
KERNEL(weigh_g1)(const Point<Base> *bucket_sums, Point<Base> *out, uint32_t buckets) {
    SHARED(Point<Base>, sums, WEIGH);
    weigh(bucket_sums, out, buckets, sums);
}
EXPORT(weigh_g1)
KERNEL(weigh_g2)(const Point<Quadratic> *bucket_sums, Point<Quadratic> *out, uint32_t buckets) {
    SHARED(Point<Quadratic>, sums, WEIGH);
    weigh(bucket_sums, out, buckets, sums);
}
EXPORT(weigh_g2)

// x = X/ZZ, y = Y/ZZZ; 1/ZZ = (ZZ/ZZZ)^2. The neutral element has ZZ = 0 and becomes (0, 0).
template <class F> DEVICE void to_affine(const Point<F> *points, Affine<F> *out, uint32_t n) {
    uint64_t i = element();
    if (i >= n) return;
    F zz = load(&points[i].zz), y = inverse(load(&points[i].zzz)), x = product(zz, y);
    x = product(x, x);
    y = product(y, load(&points[i].y));
    x = product(x, load(&points[i].x));
    if (zz.is_zero()) y = F::zero();
    copy(out[i].x, x);
    copy(out[i].y, y);
}
KERNEL(to_affine_g1)(const Point<Base> *points, Affine<Base> *out, uint32_t n) { to_affine(points, out, n); }
EXPORT(to_affine_g1)
KERNEL(to_affine_g2)(const Point<Quadratic> *points, Affine<Quadratic> *out, uint32_t n) { to_affine(points, out, n); }
EXPORT(to_affine_g2)

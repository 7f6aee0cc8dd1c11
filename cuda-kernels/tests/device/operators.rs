//! Every operator of a tensor beside its equation, written out.

use assay_cuda_kernels::tensor::Image;
use assay_cuda_kernels::work::Work;

use crate::{Numbers, device};

#[test]
fn products_of_matrices_are_exact_for_operands_of_every_width() {
    let Some(gpu) = device() else { return };
    let mut numbers = Numbers(1);
    // Rows, inner, outputs; bits of operand and weights.
    let cases = [
        (1, 1, 1, 8, 8),
        (3, 5, 7, 8, 8),
        (65, 67, 66, 8, 8),
        // On tensor cores: more than a tile, an inner axis of more steps than wait at once, and two planes of each.
        (70, 420, 135, 8, 8),
        (40, 100, 64, 16, 16),
        (2, 130, 70, 16, 8),
        (2, 33, 3, 8, 16),
        (2, 20, 5, 24, 16),
        (1, 6, 4, 40, 16),
    ];
    for (rows, inner, outputs, x_bits, w_bits) in cases {
        let (hi, w_hi) = ((1i64 << (x_bits - 1)) - 1, (1i64 << (w_bits - 1)) - 1);
        let x: Vec<Vec<i64>> = (0..2).map(|_| numbers.many(rows * inner, -hi - 1, hi)).collect();
        let weights = numbers.weights(outputs * inner, -w_hi - 1, w_hi);
        let bias = numbers.many(outputs, -1000, 1000);
        let on_device = gpu.weights(&weights, &bias).expect("room");
        let operand = gpu.tensor(&[&x[0], &x[1]]).expect("room");
        let y = gpu.dense(&on_device, &operand, (-hi - 1, hi)).expect("a product").read().expect("read");
        for (x, y) in x.iter().zip(y) {
            let expected: Vec<i64> = x
                .chunks(inner)
                .flat_map(|x| {
                    let dot = |w: &[i32]| w.iter().zip(x).map(|(w, x)| i64::from(*w) * x).sum::<i64>();
                    weights.chunks(inner).zip(&bias).map(move |(w, bias)| dot(w) + bias).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(y, expected, "{rows} {inner} {outputs} {x_bits} {w_bits}");
        }
    }
}

#[test]
fn the_longest_exact_sum_of_bytes_is_flushed_in_time() {
    let Some(gpu) = device() else { return };
    // Without a flush, 300,000 products of 2^14 leave an int32.
    let inner = 300_000;
    let weights = gpu.weights(&vec![-128; inner], &[5]).expect("room");
    let x = gpu.tensor(&[&vec![-128; inner]]).expect("room");
    let y = gpu.dense(&weights, &x, (-128, 127)).expect("a product").read().expect("read");
    assert_eq!(y, [[(inner as i64) * 128 * 128 + 5]]);
}

#[test]
fn batched_products_of_activations_are_exact() {
    let Some(gpu) = device() else { return };
    let mut numbers = Numbers(2);
    let [batch, rows, inner, columns] = [3, 5, 9, 4];
    let a = numbers.many(batch * rows * inner, -40_000, 40_000);
    let b = numbers.many(batch * inner * columns, -100, 100);
    let both = [&a[..], &a[..]].map(|row| row.to_vec());
    let left = gpu.tensor(&[&both[0], &both[1]]).expect("room");
    let right = gpu.tensor(&[&b, &b]).expect("room");
    let y = gpu.matmul([batch, rows, inner, columns], (&left, (-40_000, 40_000)), (&right, (-100, 100)));
    for y in y.expect("a product").read().expect("read") {
        for (at, y) in y.iter().enumerate() {
            let (z, i, j) = (at / (rows * columns), at / columns % rows, at % columns);
            let term = |l: usize| a[(z * rows + i) * inner + l] * b[(z * inner + l) * columns + j];
            assert_eq!(*y, (0..inner).map(term).sum::<i64>(), "{at}");
        }
    }
}

#[test]
fn convolutions_are_exact_with_padding_strides_dilation_and_groups() {
    let Some(gpu) = device() else { return };
    let mut numbers = Numbers(3);
    let base = Image {
        from: [4, 7, 6],
        to: [8, 7, 6],
        kernel: [3, 3],
        stride: [1, 1],
        pad: [1, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let images = [
        base,
        Image { groups: 2, ..base },
        // Depthwise, and depthwise with two outputs a channel: one thread an output.
        Image { to: [4, 7, 6], groups: 4, ..base },
        Image { groups: 4, ..base },
        Image { to: [8, 3, 3], kernel: [3, 2], stride: [2, 2], pad: [0, 0], dilation: [1, 1], ..base },
        Image { to: [8, 5, 6], kernel: [3, 2], pad: [1, 1], dilation: [2, 2], ..base },
        Image { from: [3, 20, 20], to: [70, 20, 20], ..base },
    ];
    for image in images {
        let depth = image.from[0] / image.groups;
        let taps = (depth * image.kernel[0] * image.kernel[1]) as usize;
        let size = image.from.iter().product::<u32>() as usize;
        let weights = numbers.weights(image.to[0] as usize * taps, -200, 200);
        let bias = numbers.many(image.to[0] as usize, -9, 9);
        let x: Vec<Vec<i64>> = (0..2).map(|_| numbers.many(size, -128, 300)).collect();
        let filter = gpu.filter(image, &weights, &bias).expect("room");
        let operand = gpu.tensor(&[&x[0], &x[1]]).expect("room");
        let y = gpu.convolve(&filter, &operand, (-128, 300)).expect("a convolution").read().expect("read");
        for (x, y) in x.iter().zip(y) {
            for (at, y) in y.iter().enumerate() {
                let at = at as u32;
                let (channel, position) =
                    (at / (image.to[1] * image.to[2]), at % (image.to[1] * image.to[2]));
                let mut sum = bias[channel as usize];
                taps_of(&image, position, |ky, kx, pixel| {
                    for c in 0..depth {
                        let w = ((channel * depth + c) * image.kernel[0] + ky) * image.kernel[1] + kx;
                        let from = channel / (image.to[0] / image.groups) * depth + c;
                        let at = from * image.from[1] * image.from[2] + pixel;
                        sum += i64::from(weights[w as usize]) * x[at as usize];
                    }
                });
                assert_eq!(*y, sum, "{image:?} {at}");
            }
        }
    }
}

fn taps_of(image: &Image, position: u32, mut each: impl FnMut(u32, u32, u32)) {
    let out = [position / image.to[2], position % image.to[2]];
    for ky in 0..image.kernel[0] {
        for kx in 0..image.kernel[1] {
            let at = |a: usize, k: u32| {
                let p = i64::from(out[a] * image.stride[a] + k * image.dilation[a]) - i64::from(image.pad[a]);
                (0..i64::from(image.from[a + 1])).contains(&p).then_some(p as u32)
            };
            if let (Some(y), Some(x)) = (at(0, ky), at(1, kx)) {
                each(ky, kx, y * image.from[2] + x);
            }
        }
    }
}

#[test]
fn pools_see_only_what_lies_in_the_image() {
    let Some(gpu) = device() else { return };
    let image = Image {
        from: [3, 5, 5],
        to: [3, 3, 3],
        kernel: [3, 3],
        stride: [2, 2],
        pad: [1, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let x = Numbers(4).many(75, -900, -1);
    let operand = gpu.tensor(&[&x]).expect("room");
    let y = gpu.max_pool(image, &operand).expect("a pool").read().expect("read");
    for (at, y) in y[0].iter().enumerate() {
        let (channel, mut max) = (at / 9, i64::MIN);
        taps_of(&image, at as u32 % 9, |_, _, pixel| max = max.max(x[channel * 25 + pixel as usize]));
        assert_eq!(*y, max, "{at}");
    }
    let y = gpu.max(5, &operand).expect("maxima").read().expect("read");
    let expected: Vec<i64> = x.chunks(5).filter_map(|group| group.iter().max().copied()).collect();
    assert_eq!(y, [expected]);
}

#[test]
fn rounding_is_half_up_and_shifts_round_down() {
    let Some(gpu) = device() else { return };
    let mut x: Vec<i64> = (-40..40).collect();
    x.extend([i64::from(i32::MIN), 1 << 59, -(1 << 59)]);
    x.extend(Numbers(5).many(600, -(1 << 40), 1 << 40));
    let operand = gpu.tensor(&[&x]).expect("room");
    for (shift, lo, hi) in [(1, -128, 127), (3, 0, 255), (30, -8_388_608, 8_388_607)] {
        let y = gpu.requantize(&operand, shift, lo, hi).expect("a rule").read().expect("read");
        let rule = |x: &i64| ((x + (1 << (shift - 1))) >> shift).clamp(lo.into(), hi.into());
        assert_eq!(y, [x.iter().map(rule).collect::<Vec<_>>()]);
    }
}

#[test]
fn elementwise_operators_are_their_equations() {
    let Some(gpu) = device() else { return };
    let mut numbers = Numbers(6);
    let (a, b) = (numbers.many(700, -3000, 3000), numbers.many(700, -50, 50));
    let rows = |values: &[i64]| gpu.tensor(&[&values[..350], &values[350..]]).expect("room");
    let (x, y) = (rows(&a), rows(&b));
    let pairs = || a.iter().zip(&b);
    let read = |tensor: assay_cuda_kernels::tensor::Tensor| tensor.read().expect("read").concat();
    assert_eq!(
        read(gpu.multiply(&x, &y).expect("products")),
        pairs().map(|(a, b)| a * b).collect::<Vec<_>>()
    );
    let combined = gpu.combine(&[&x, &y, &x], &[5, -7, 2], 11).expect("a sum");
    assert_eq!(read(combined), pairs().map(|(a, b)| 7 * a - 7 * b + 11).collect::<Vec<_>>());
    let squares = gpu.multiply(&x, &x).expect("squares");
    assert_eq!(read(gpu.root(&squares).expect("roots")), a.iter().map(|a| a.abs()).collect::<Vec<_>>());
    assert_eq!(read(gpu.root(&x).expect("roots")), a.iter().map(|a| a.max(&0).isqrt()).collect::<Vec<_>>());
    // Arguments beyond a table's ends take the nearest value.
    let values: Vec<i32> = (0..80).map(|i| i * i - 7).collect();
    let table = gpu.lookup(-40, &values).expect("room");
    let expected: Vec<i64> = b.iter().map(|b| values[(b + 40).clamp(0, 79) as usize].into()).collect();
    assert_eq!(read(gpu.table(&table, &y).expect("values")), expected);
    // Elements of both operands, and the number 0.
    let index = gpu.index(&[0, 349, 350, 699, u32::MAX, 1]).expect("room");
    let selected = gpu.select(&index, &[&x, &y]).expect("a choice").read().expect("read");
    assert_eq!(selected[1], [a[350], a[699], b[350], b[699], 0, a[351]]);
}

#[test]
fn sparse_rows_are_summed_in_order_of_their_ends() {
    let Some(gpu) = device() else { return };
    let taps = [(0, 3), (5, -1), (2, 2), (3, 1), (4, 7), (1, 1)];
    let matrix = gpu.sparse_matrix(6, &[4, 0, -9, 1], &[2, 5, 5, 6], &taps).expect("room");
    let x = [10, 20, 30, 40, 50, 60];
    let y = gpu.sparse(&matrix, &gpu.tensor(&[&x, &[1; 6]]).expect("room")).expect("sums");
    assert_eq!(y.read().expect("read"), [[4 + 30 - 60, 60 + 40 + 350, -9, 21], [6, 10, -9, 2]]);
}

#[test]
fn work_on_the_device_is_that_of_the_processor() {
    let Some(gpu) = device() else { return };
    for (seed, side, rounds) in [(1, 16, 30), (u64::MAX, 64, 3), (7, 64, 0)] {
        let work = Work { seed, side, rounds };
        assert_eq!(gpu.work(&work).expect("work"), work.reference(), "{work:?}");
    }
}

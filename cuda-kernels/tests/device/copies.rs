//! Arrays come back as they went, however long: short ones at once, long ones in stages and by several threads.

use assay_cuda_kernels::Gpu;

use crate::{Numbers, device};

/// Elements of a stage: 1 MiB of 32 bytes each.
const STAGE: usize = 1 << 15;

fn returns(gpu: &Gpu, count: usize) {
    let mut numbers = Numbers(count as u64);
    let elements: Vec<[u64; 4]> = (0..count).map(|_| std::array::from_fn(|_| numbers.next())).collect();
    let there = gpu.elements_from(count, |i| elements[i]).expect("room");
    assert!(there.read().expect("a copy") == elements, "{count} elements");
}

#[test]
fn arrays_of_every_length_come_back_as_they_went() {
    let Some(gpu) = device() else { return };
    for count in [0, 1, STAGE - 1, STAGE, STAGE + 1, 2 * STAGE, 3 * STAGE + 5, 8 * STAGE + 1, 13 * STAGE - 1]
    {
        returns(&gpu, count);
    }
}

#[test]
fn threads_that_copy_at_once_do_not_share_a_stage() {
    let Some(gpu) = device() else { return };
    std::thread::scope(|scope| {
        for extra in 0..4 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                for round in 0..3 {
                    returns(&gpu, (2 + 3 * round) * STAGE + extra);
                }
            });
        }
    });
}

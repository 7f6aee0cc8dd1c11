//! What a device that fails looks like. The emulator's devices differ by number, see `emulator/driver.cpp`; on others
//! these tests have nothing to look at.

use assay_cuda_kernels::work::Work;
use assay_cuda_kernels::{DeviceError, Gpu};

use crate::device;

const WORK: Work = Work { seed: 5, side: 16, rounds: 40 };

fn emulated(ordinal: u32) -> Option<Gpu> {
    let emulated = device()?.name().starts_with("emulated");
    if !emulated {
        println!("SKIP: only the emulator has a device that fails");
    }
    emulated.then(|| Gpu::open(ordinal, None).expect("an emulated device opens"))
}

#[test]
fn a_device_that_does_not_exist_is_refused_by_name() {
    if device().is_some() {
        let error = Gpu::open(63, None).unwrap_err();
        assert!(matches!(error, DeviceError::NoSuchDevice { ordinal: 63, .. }), "{error:?}");
        assert!(error.to_string().contains("no CUDA device 63"), "{error}");
    }
}

#[test]
fn a_device_that_is_lost_says_so_at_every_later_call() {
    let Some(gpu) = emulated(5) else { return };
    for _ in 0..2 {
        match gpu.work(&WORK) {
            Err(DeviceError::Call { code: 700, meaning, .. }) => assert!(meaning.contains("bad address")),
            other => panic!("{other:?}"),
        }
    }
    // Opened anew it works again, for a while.
    drop(gpu);
    let gpu = emulated(8).expect("a device");
    assert_eq!(gpu.work(&WORK).expect("few kernels"), WORK.reference());
}

#[test]
fn a_device_that_computes_wrong_gives_another_result() {
    let Some(gpu) = emulated(1) else { return };
    assert_ne!(gpu.work(&WORK).expect("nothing fails"), WORK.reference());
}

#[test]
fn memory_has_a_limit_of_the_device_and_one_of_the_program() {
    let Some(gpu) = emulated(2) else { return };
    match gpu.tensor(&[&vec![0; 1 << 17]]) {
        Ok(_all) => match gpu.tensor(&[&[1]]) {
            Err(DeviceError::Limit { asked: 8, used, limit }) => {
                assert_eq!((used, limit), (1 << 20, 1 << 20))
            }
            other => panic!("{other:?}"),
        },
        Err(error) => panic!("{error}"),
    }
    let gpu = Gpu::open(0, Some(1000)).expect("a device");
    let error = gpu.tensor(&[&[0; 126]]).unwrap_err();
    assert!(matches!(error, DeviceError::Limit { asked: 1008, used: 0, limit: 1000 }), "{error:?}");
    assert!(gpu.tensor(&[&[0; 125]]).is_ok());
}

#[test]
fn memory_is_given_back() {
    let Some(gpu) = device() else { return };
    gpu.work(&WORK).expect("work");
    assert_eq!(gpu.used(), 0);
    let kept = gpu.tensor(&[&[1, 2], &[3, 4]]).expect("room");
    assert_eq!(gpu.used(), 32);
    // Another thread may drop it.
    std::thread::spawn(move || drop(kept)).join().expect("the thread ends");
    assert_eq!(gpu.used(), 0);
}

#[test]
fn threads_may_use_one_device_at_a_time() {
    let Some(gpu) = device() else { return };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                let work = Work { seed, side: 16, rounds: 5 };
                assert_eq!(gpu.work(&work).expect("work"), work.reference(), "{seed}");
            });
        }
    });
}

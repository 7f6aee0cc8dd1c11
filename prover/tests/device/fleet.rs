//! Several devices in one worker: they share what there is to do, and each may be lost.

use std::sync::Arc;

use assay_circuits::samples;
use assay_cuda_kernels::{DeviceError, Gpu};
use assay_prover::backend::{Accelerator, Backend, BackendError, Choice, OpenError, Work, least_busy};
use assay_prover::cuda::CudaWorker;
use assay_prover::worker::{Worker, WorkerError};
use assay_verifier::proof::{self, Statement};

use crate::failover::prover;
use crate::{alone, device, emulated};

const WORK: Work = Work { seed: 5, side: 16, rounds: 40 };

/// Devices of the emulator, believed, in one worker.
fn worker(ordinals: &[u32]) -> Option<(CudaWorker, Vec<Arc<Accelerator>>)> {
    let mut worker = CudaWorker::new([prover()]);
    let mut accelerators = Vec::new();
    for &ordinal in ordinals {
        let accelerator = Accelerator::new(emulated(ordinal)?).expect("it computes right at first");
        worker.add(Arc::clone(&accelerator)).expect("room");
        accelerators.push(accelerator);
    }
    Some((worker, accelerators))
}

/// Answers a job with a proof, and checks both.
fn answer(worker: &CudaWorker, byte: u8) {
    let inputs = vec![vec![3, i32::from(byte), 17]];
    let inference = worker.infer(&worker.models()[0], &inputs).expect("an answer");
    let outputs = inference.outputs.clone();
    assert_eq!(outputs, samples::dense().run(&inputs).expect("inputs fit").outputs(&samples::dense()));
    let proof = worker.prove(inference, [byte; 32]).expect("a proof");
    let statement = Statement::public([byte; 32], inputs, outputs);
    proof::verify(prover().verifying_key(), &statement, &proof).expect("it verifies");
}

/// Answers jobs until a device is lost; how many.
fn answer_until_lost(worker: &CudaWorker, accelerator: &Accelerator) -> u8 {
    for jobs in 0..200 {
        if accelerator.gpu().is_none() {
            return jobs;
        }
        answer(worker, jobs);
    }
    panic!("the device has nothing to do, or is not lost");
}

#[test]
fn the_device_with_the_least_to_do_is_next() {
    let Some((_, accelerators)) = worker(&[0, 10]) else { return };
    let (first, held) = least_busy(accelerators.iter()).expect("a device");
    let (second, _held) = least_busy(accelerators.iter()).expect("a device");
    assert_eq!((first, second), (0, 1));
    let (third, _other) = least_busy(accelerators.iter()).expect("a device");
    assert_eq!(third, 0, "both have one, the first of them is next");
    drop(held);
    let again = accelerators[1].lease();
    assert_eq!(least_busy(accelerators.iter()).expect("a device").0, 0);
    drop(again);
    accelerators[0].give_up("a test");
    assert_eq!(least_busy(accelerators.iter()).expect("a device").0, 1);
    accelerators[1].give_up("a test");
    assert!(least_busy(accelerators.iter()).is_none());
}

#[test]
fn two_devices_serve_and_both_are_named() {
    let Some((worker, accelerators)) = worker(&[0, 10]) else { return };
    assert_eq!((worker.devices(), worker.lost(), worker.turns()), (2, 0, 2));
    let backend = worker.backend();
    assert!(backend.starts_with("cuda:0 emulated device 0, "), "{backend}");
    assert!(backend.contains("; cuda:10 emulated device 10, "), "{backend}");
    assert_eq!(Some(worker.rate()), accelerators.iter().map(|accelerator| accelerator.rate()).min());
    std::thread::scope(|scope| {
        for byte in 1..4 {
            let worker = &worker;
            scope.spawn(move || answer(worker, byte));
        }
    });
    assert!(accelerators.iter().all(|accelerator| accelerator.gpu().is_some()));
    // The keys are on both.
    let used = |accelerator: &Arc<Accelerator>| accelerator.gpu().map_or(0, Gpu::used);
    assert!(used(&accelerators[0]) > 0);
    assert_eq!(used(&accelerators[0]), used(&accelerators[1]));
}

#[test]
fn what_begins_while_a_device_is_busy_goes_to_another() {
    let _alone = alone();
    let Some((worker, accelerators)) = worker(&[0, 8]) else { return };
    let _busy = accelerators[0].lease();
    // A device is lost only by what it is given to do.
    answer_until_lost(&worker, &accelerators[1]);
    assert!(accelerators[0].gpu().is_some());
}

#[test]
fn a_job_whose_device_is_lost_is_answered_and_the_other_device_goes_on() {
    let _alone = alone();
    let Some((worker, accelerators)) = worker(&[8, 10]) else { return };
    let jobs = answer_until_lost(&worker, &accelerators[0]);
    assert!(accelerators[1].gpu().is_some(), "the other device is not to blame");
    let backend = worker.backend();
    assert!(backend.starts_with("cuda:8 emulated device 8 was given up; cuda:10 "), "{backend}");
    assert_eq!((worker.devices(), worker.lost(), worker.turns()), (2, 1, 1));
    answer(&worker, jobs);
    assert_eq!(worker.work(&WORK).expect("the other device"), WORK.reference());
}

#[test]
fn jobs_are_answered_when_all_devices_are_lost_and_works_are_not() {
    let _alone = alone();
    let Some((worker, accelerators)) = worker(&[8, 11]) else { return };
    // Works go to each in its turn: both are lost, whichever first, and no work is answered by the processor.
    let mut works = 0;
    let refused = loop {
        match worker.work(&WORK) {
            Ok(values) => assert_eq!(values, WORK.reference()),
            Err(error) => break error,
        }
        works += 1;
        assert!(works < 1000, "the devices are lost some time");
    };
    assert!(matches!(refused, WorkerError::Failed(_)), "{refused:?}");
    assert!(accelerators.iter().all(|accelerator| accelerator.gpu().is_none()));
    let (backend, lost, turns) = (worker.backend(), worker.lost(), worker.turns());
    assert_eq!(
        backend,
        "cpu (cuda:8 emulated device 8 was given up; cuda:11 emulated device 11 was given up)"
    );
    assert_eq!((lost, turns), (2, 1));
    answer(&worker, 1);
    assert!(worker.work(&WORK).is_err(), "the processor signs nothing for a device");
}

#[test]
fn a_job_in_which_all_devices_are_lost_is_answered() {
    let _alone = alone();
    let Some((worker, accelerators)) = worker(&[8, 11]) else { return };
    for accelerator in &accelerators {
        answer_until_lost(&worker, accelerator);
    }
    answer(&worker, 0);
}

#[test]
fn each_work_is_the_next_devices() {
    let _alone = alone();
    let Some((worker, accelerators)) = worker(&[0, 8]) else { return };
    let mut works = 0;
    // The second has its turn although the first is idle, until it is lost; the work it was lost at is answered.
    while accelerators[1].gpu().is_some() {
        assert_eq!(worker.work(&WORK).expect("a device"), WORK.reference());
        works += 1;
        assert!(works < 100, "the second device has no turn");
    }
    assert_eq!(worker.work(&WORK).expect("the first again"), WORK.reference());
    accelerators[0].give_up("a test");
    assert_eq!(worker.work(&WORK), Err(WorkerError::Failed(DeviceError::GivenUp.to_string())));
}

#[test]
fn the_backend_is_what_was_asked_for() {
    let _alone = alone();
    assert!(Backend::open(&Choice::Cpu, None).expect("the processor").into_accelerators().is_empty());
    assert!(Backend::open(&Choice::Cuda(vec![63]), None).is_err());
    let Some(first) = device() else { return };
    let ordinals = |choice: &Choice| -> Vec<u32> {
        let opened = Backend::open(choice, Some(1 << 20)).expect("devices").into_accelerators();
        opened.iter().map(|accelerator| accelerator.ordinal()).collect()
    };
    assert_eq!(ordinals(&Choice::Cuda(vec![0])), [0]);
    let OpenError { ordinal, reason } =
        Backend::open(&Choice::Cuda(vec![0, 63]), None).expect_err("one is not there");
    assert_eq!(ordinal, 63);
    assert!(reason.to_string().starts_with("there is no CUDA device 63"), "{reason}");
    let found = ordinals(&Choice::Auto);
    assert!(found.starts_with(&[0]), "{found:?}");
    if first.name().starts_with("emulated") {
        // All that answer, not the one that computes wrong nor those that are lost at once.
        assert!(found.contains(&10) && [1, 3, 4, 5].iter().all(|bad| !found.contains(bad)), "{found:?}");
        assert_eq!(ordinals(&Choice::Cuda(vec![10, 0])), [10, 0]);
        let wrong = Backend::open(&Choice::Cuda(vec![0, 1]), None).expect_err("it computes wrong");
        assert!(matches!(wrong, OpenError { ordinal: 1, reason: BackendError::Wrong { .. } }), "{wrong:?}");
    }
}

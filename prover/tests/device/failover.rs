//! A device that fails in the middle of a job: the job is answered all the same.

use std::sync::Arc;

use assay_circuits::samples;
use assay_cuda_kernels::{DeviceError, Gpu};
use assay_prover::backend::{Accelerator, BackendError};
use assay_prover::cuda::CudaWorker;
use assay_prover::groth16::{Prover, Secret, setup};
use assay_prover::worker::Worker;
use assay_verifier::proof::{self, Statement, VerifyingKey};

use crate::{accelerator, alone, device, emulated};

pub fn prover() -> Prover {
    let graph = samples::dense();
    let key = setup(&graph, Secret::Seed([7; 32]), None, &|_, _| {});
    Prover::new(graph, key).expect("a prover")
}

/// Answers a job with a proof, and checks both. Whether the device was still in use at the end.
fn answers(accelerator: &Arc<Accelerator>) -> bool {
    let prover = prover();
    let key: VerifyingKey = prover.verifying_key().clone();
    let mut worker = CudaWorker::new([prover]);
    worker.add(Arc::clone(accelerator)).expect("room");
    let [model] = worker.models()[..] else { panic!("one model") };
    let inputs = vec![vec![3, 200, 17]];
    let inference = worker.infer(&model, &inputs).expect("an answer");
    let outputs = inference.outputs.clone();
    let expected = samples::dense().run(&inputs).expect("inputs fit").outputs(&samples::dense());
    let job = [9; 32];
    let proof = worker.prove(inference, job).expect("a proof");
    // An output that was computed wrong cannot be proven; one that was not is the interpreter's.
    assert_eq!(outputs, expected);
    proof::verify(&key, &Statement::public(job, inputs, outputs), &proof).expect("it verifies");
    accelerator.gpu().is_some()
}

#[test]
fn a_job_is_answered_whenever_the_device_is_lost() {
    let _alone = alone();
    // The devices are lost at their 64th and 256th kernel; believing one takes tens, a job about a hundred.
    let mut ends = Vec::new();
    for ordinal in [6, 7] {
        let Some(gpu) = emulated(ordinal) else { return };
        match Accelerator::new(gpu) {
            Ok(accelerator) => {
                while answers(&accelerator) {}
                assert!(accelerator.to_string().contains("was given up"), "{accelerator}");
                ends.push(ordinal);
            }
            Err(error) => assert!(matches!(error, BackendError::Device(DeviceError::Call { code: 700, .. }))),
        }
    }
    assert!(!ends.is_empty(), "no device lasted until a job");
}

#[test]
fn a_healthy_device_stays_in_use() {
    if let Some(accelerator) = accelerator() {
        assert!(answers(&accelerator));
        assert!(accelerator.to_string().contains("multiply-adds/s"), "{accelerator}");
    }
}

#[test]
fn a_device_that_computes_wrong_is_not_believed() {
    let _alone = alone();
    if let Some(gpu) = emulated(1) {
        let error = Accelerator::new(gpu).expect_err("wrong");
        assert!(matches!(error, BackendError::Wrong { .. }), "{error:?}");
    }
}

#[test]
fn keys_that_do_not_fit_are_refused_with_the_numbers() {
    let Some(first) = device() else { return };
    drop(first);
    let accelerator = Accelerator::new(Gpu::open(0, Some(200_000)).expect("a device")).expect("it computes");
    let held = accelerator.gpu().expect("a device").tensor(&[&[0; 24_000]]).expect("room");
    let mut worker = CudaWorker::new([prover()]);
    match worker.add(Arc::clone(&accelerator)) {
        Err(DeviceError::Limit { limit: 200_000, used: 192_000.., .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!((worker.backend().as_str(), worker.devices()), ("cpu", 0));
    let gpu = accelerator.gpu().expect("a device");
    assert_eq!(gpu.used(), 192_000, "what was copied is given back");
    // With the memory free again they fit; short of it once more, the processor computes, and the device is kept.
    drop(held);
    worker.add(Arc::clone(&accelerator)).expect("room");
    let _held = gpu.tensor(&[&vec![0; (gpu.limit() - gpu.used()) / 8]]).expect("room");
    let inference = worker.infer(&worker.models()[0], &[vec![3, 200, 17]]).expect("an answer");
    worker.prove(inference, [0; 32]).expect("a proof");
    assert!(accelerator.gpu().is_some(), "too little memory is no reason to give a device up");
}

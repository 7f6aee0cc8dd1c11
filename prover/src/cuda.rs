//! The worker that runs models and proves them on a device, and with the processor where the device does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_circuits::ir::ModelId;
use assay_cuda_kernels::DeviceError;

use crate::backend::{Accelerator, Work};
use crate::cpu::{CpuWorker, Run};
use crate::network::{Network, NetworkError};
use crate::prover::Prover;
use crate::worker::{Inference, Worker, WorkerError};

/// Models with their keys, on a device. Every job is answered also if the device is lost while it is worked on.
#[derive(Debug)]
pub struct CudaWorker {
    cpu: CpuWorker,
    accelerator: Arc<Accelerator>,
    networks: BTreeMap<ModelId, Network>,
}

impl CudaWorker {
    /// Copies models and keys to the device.
    ///
    /// # Errors
    /// If they do not fit its memory, or it fails; with the provers, which the processor can serve.
    pub fn new(
        provers: impl IntoIterator<Item = impl Into<Prover>>,
        accelerator: Arc<Accelerator>,
    ) -> Result<Self, (Vec<Prover>, DeviceError)> {
        let mut provers: Vec<Prover> = provers.into_iter().map(Into::into).collect();
        match copied(&mut provers, &accelerator) {
            Ok(networks) => Ok(Self { cpu: CpuWorker::new(provers), accelerator, networks }),
            Err(error) => {
                provers.iter_mut().for_each(Prover::leave_device);
                Err((provers, error))
            }
        }
    }
}

fn copied(
    provers: &mut [Prover],
    accelerator: &Arc<Accelerator>,
) -> Result<BTreeMap<ModelId, Network>, DeviceError> {
    let mut networks = BTreeMap::new();
    for prover in provers {
        networks.insert(prover.model_id(), Network::new(accelerator.device()?, prover.graph())?);
        prover.move_to(accelerator)?;
    }
    Ok(networks)
}

impl Worker for CudaWorker {
    fn models(&self) -> Vec<ModelId> {
        self.cpu.models()
    }

    fn backend(&self) -> String {
        self.accelerator.to_string()
    }

    fn work(&self, work: &Work) -> Result<Vec<i64>, WorkerError> {
        let failed = |error: DeviceError| {
            self.accelerator.failed(&error);
            WorkerError::Failed(error.to_string())
        };
        let gpu = self.accelerator.device().map_err(|error| WorkerError::Failed(error.to_string()))?;
        gpu.work(work).map_err(failed)
    }

    fn rate(&self) -> u64 {
        self.accelerator.rate()
    }

    fn infer(&self, model: &ModelId, inputs: &[Vec<i32>]) -> Result<Inference, WorkerError> {
        let graph = self.cpu.prover(model)?.graph();
        let (Some(gpu), Some(network)) = (self.accelerator.gpu(), self.networks.get(model)) else {
            return self.cpu.infer(model, inputs);
        };
        match network.run(gpu, graph, &[inputs.to_vec()]).map(|mut traces| traces.pop()) {
            Ok(Some(trace)) => {
                let outputs = trace.outputs(graph);
                Ok(Inference { outputs, trace: Box::new(Run { model: *model, trace }) })
            }
            Ok(None) => self.cpu.infer(model, inputs),
            Err(NetworkError::Model(error)) => Err(WorkerError::Input(error.to_string())),
            Err(NetworkError::Device(error)) => {
                self.accelerator.failed(&error);
                self.cpu.infer(model, inputs)
            }
        }
    }

    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        let proof = self.cpu.prove(inference, job);
        // The prover has looked at itself already: what cannot be proven was inferred wrong, if the device did it.
        if let (Err(WorkerError::Failed(reason)), Some(_)) = (&proof, self.accelerator.gpu()) {
            self.accelerator.give_up(reason);
        }
        proof
    }
}

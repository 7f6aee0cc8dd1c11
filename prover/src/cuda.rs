//! The worker that runs models and proves them on devices, and with the processor where no device does.
//!
//! ```text
//! infer   on the device that has the least to do; on the next one if that is lost meanwhile
//! prove   likewise, sum by sum: what a lost device has done is kept
//! work    on each device that works in its turn, so that challenges see all of them; never on the processor
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_circuits::ir::ModelId;
use assay_cuda_kernels::DeviceError;

use crate::backend::{Accelerator, Work, described, least_busy};
use crate::cpu::{CpuWorker, Run};
use crate::network::{Network, NetworkError};
use crate::prover::Prover;
use crate::worker::{Inference, Worker, WorkerError};

/// Models with their keys, on every device that was added. Every job is answered also if all devices are lost while it is
/// worked on.
#[derive(Debug)]
pub struct CudaWorker {
    cpu: CpuWorker,
    devices: Vec<Device>,
    /// Works that were asked for.
    works: AtomicUsize,
}

#[derive(Debug)]
struct Device {
    accelerator: Arc<Accelerator>,
    networks: BTreeMap<ModelId, Network>,
}

impl CudaWorker {
    /// A worker for these models, on the processor until a device is added.
    pub fn new(provers: impl IntoIterator<Item = impl Into<Prover>>) -> Self {
        Self { cpu: CpuWorker::new(provers), devices: Vec::new(), works: AtomicUsize::new(0) }
    }

    /// Copies models and keys to one more device.
    ///
    /// # Errors
    /// If they do not fit its memory, or it fails; it is not used then, and its memory is given back.
    pub fn add(&mut self, accelerator: Arc<Accelerator>) -> Result<(), DeviceError> {
        match self.copied(&accelerator) {
            Ok(networks) => {
                self.devices.push(Device { accelerator, networks });
                Ok(())
            }
            Err(error) => {
                self.cpu.provers_mut().for_each(|prover| prover.leave(&accelerator));
                Err(error)
            }
        }
    }

    fn copied(&mut self, accelerator: &Arc<Accelerator>) -> Result<BTreeMap<ModelId, Network>, DeviceError> {
        let mut networks = BTreeMap::new();
        for prover in self.cpu.provers_mut() {
            networks.insert(prover.model_id(), Network::new(accelerator.device()?, prover.graph())?);
            prover.copy_to(accelerator)?;
        }
        Ok(networks)
    }

    /// Devices that were added, whether they still work or not.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    fn accelerators(&self) -> impl Iterator<Item = &Arc<Accelerator>> {
        self.devices.iter().map(|device| &device.accelerator)
    }
}

impl Worker for CudaWorker {
    fn models(&self) -> Vec<ModelId> {
        self.cpu.models()
    }

    fn backend(&self) -> String {
        described(self.accelerators())
    }

    fn work(&self, work: &Work) -> Result<Vec<i64>, WorkerError> {
        if self.devices.is_empty() {
            return self.cpu.work(work);
        }
        let first = self.works.fetch_add(1, Ordering::Relaxed) % self.devices.len();
        let mut reason = DeviceError::GivenUp;
        for Device { accelerator, .. } in self.devices[first..].iter().chain(&self.devices[..first]) {
            let Some(gpu) = accelerator.gpu() else { continue };
            let _lease = accelerator.lease();
            match gpu.work(work) {
                Ok(values) => return Ok(values),
                Err(error) => {
                    accelerator.failed(&error);
                    reason = error;
                }
            }
        }
        Err(WorkerError::Failed(reason.to_string()))
    }

    fn rate(&self) -> u64 {
        self.accelerators().map(|accelerator| accelerator.rate()).min().unwrap_or_else(|| self.cpu.rate())
    }

    fn lost(&self) -> usize {
        self.accelerators().filter(|accelerator| accelerator.gpu().is_none()).count()
    }

    fn turns(&self) -> usize {
        self.accelerators().filter(|accelerator| accelerator.gpu().is_some()).count().max(1)
    }

    fn infer(&self, model: &ModelId, inputs: &[Vec<i32>]) -> Result<Inference, WorkerError> {
        let graph = self.cpu.prover(model)?.graph();
        // Every turn but the last loses a device.
        while let Some((place, _lease)) = least_busy(self.accelerators()) {
            let Device { accelerator, networks } = &self.devices[place];
            let Some(network) = networks.get(model) else { break };
            let Some(gpu) = accelerator.gpu() else { continue };
            match network.run(gpu, graph, &[inputs.to_vec()]).map(|mut traces| traces.pop()) {
                Ok(Some(trace)) => {
                    let (outputs, device) = (trace.outputs(graph), Some(Arc::clone(accelerator)));
                    return Ok(Inference { outputs, trace: Box::new(Run { model: *model, trace, device }) });
                }
                Ok(None) => break,
                Err(NetworkError::Model(error)) => return Err(WorkerError::Input(error.to_string())),
                Err(NetworkError::Device(error)) => {
                    accelerator.failed(&error);
                    // Only short of memory: the processor does this one.
                    if accelerator.gpu().is_some() {
                        break;
                    }
                }
            }
        }
        self.cpu.infer(model, inputs)
    }

    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        let device = inference.trace.downcast_ref::<Run>().and_then(|run| run.device.clone());
        let proof = self.cpu.prove(inference, job);
        // The prover has looked at its own devices already: what cannot be proven was inferred wrong.
        if let (Err(WorkerError::Failed(reason)), Some(device)) = (&proof, device) {
            device.give_up(reason);
        }
        proof
    }
}

//! The figures of one model.

use assay_circuits::ir::{Graph, Op};
use assay_circuits::r1cs::Plan;

use super::floor::{FFTS, FloorTimes};

/// Seconds of every run.
#[derive(Default)]
pub struct Times {
    pub infer: Vec<f64>,
    pub witness: Vec<f64>,
    /// From the trace to the proof, the witness included.
    pub prove: Vec<f64>,
    pub verify: Vec<f64>,
}

/// Everything that was measured.
pub struct Measured<'a> {
    pub model: String,
    pub graph: &'a Graph,
    pub plan: &'a Plan,
    pub distinct_proofs: usize,
    pub proof_bytes: usize,
    pub verifying_key_bytes: usize,
    pub proving_key_bytes: u64,
    pub import_seconds: f64,
    pub setup_seconds: f64,
    pub load_seconds: f64,
    pub times: Times,
    pub floor: FloorTimes,
    pub batch_seconds: f64,
    pub batch: usize,
    pub setup_peak_bytes: Option<u64>,
    pub prove_peak_bytes: Option<u64>,
}

/// What is reported; times are medians in seconds.
#[derive(serde::Serialize)]
pub struct Report {
    model: String,
    model_id: String,
    system: &'static str,
    cores: usize,
    runs: usize,
    parameters: usize,
    lookups: usize,
    gates: usize,
    constraints: usize,
    domain: usize,
    limb_bits: u32,
    import_seconds: f64,
    setup_seconds: f64,
    load_seconds: f64,
    infer_seconds: f64,
    witness_seconds: f64,
    prove_seconds: f64,
    floor_msm_seconds: f64,
    floor_ffts_seconds: f64,
    floor_fft_size: usize,
    floor_seconds: f64,
    ratio_to_floor: f64,
    verify_seconds: f64,
    batch: usize,
    batch_distinct_proofs: usize,
    batch_proofs_per_second: f64,
    proof_bytes: usize,
    verifying_key_bytes: usize,
    proving_key_bytes: u64,
    setup_peak_bytes: Option<u64>,
    prove_peak_bytes: Option<u64>,
}

impl Report {
    /// Takes medians.
    pub fn new(measured: Measured<'_>) -> Self {
        let Measured { graph, plan, mut times, mut floor, .. } = measured;
        let (msm, ffts) = (median(&mut floor.msm), median(&mut floor.ffts));
        let prove = median(&mut times.prove);
        let weights = graph.nodes().iter().map(|node| match &node.op {
            Op::Dense(dense) => dense.weights.len() + dense.bias.len(),
            Op::Conv2d(conv) => conv.weights.len() + conv.bias.len(),
            Op::Sparse(sparse) => sparse.taps.len() + sparse.bias.len(),
            Op::Combine(_)
            | Op::Select(_)
            | Op::Multiply
            | Op::MatMul(_)
            | Op::MaxPool2d(_)
            | Op::Max(_)
            | Op::Table(_)
            | Op::Requantize(_)
            | Op::Reshape
            | Op::Sqrt => 0,
        });
        Self {
            model: measured.model,
            model_id: graph.id().to_string(),
            system: "groth16",
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            runs: times.prove.len(),
            parameters: weights.sum(),
            lookups: plan.lookups,
            gates: plan.gates,
            constraints: plan.rows(),
            domain: plan.domain(),
            limb_bits: plan.limb_bits,
            import_seconds: measured.import_seconds,
            setup_seconds: measured.setup_seconds,
            load_seconds: measured.load_seconds,
            infer_seconds: median(&mut times.infer),
            witness_seconds: median(&mut times.witness),
            prove_seconds: prove,
            floor_msm_seconds: msm,
            floor_ffts_seconds: ffts,
            floor_fft_size: floor.fft_size,
            floor_seconds: msm + ffts,
            ratio_to_floor: prove / (msm + ffts),
            verify_seconds: median(&mut times.verify),
            batch: measured.batch,
            batch_distinct_proofs: measured.distinct_proofs,
            batch_proofs_per_second: measured.batch as f64 / measured.batch_seconds,
            proof_bytes: measured.proof_bytes,
            verifying_key_bytes: measured.verifying_key_bytes,
            proving_key_bytes: measured.proving_key_bytes,
            setup_peak_bytes: measured.setup_peak_bytes,
            prove_peak_bytes: measured.prove_peak_bytes,
        }
    }

    /// For people.
    pub fn print(&self) {
        let millis = |seconds: f64| format!("{:.*} ms", if seconds < 0.01 { 3 } else { 1 }, seconds * 1e3);
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let peak = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), mib);
        println!("model        {}, {} parameters, id {}", self.model, self.parameters, self.model_id);
        println!("machine      {} cores; medians of {} runs", self.cores, self.runs);
        println!("constraints  {} ({} lookups, {} gates)", self.constraints, self.lookups, self.gates);
        println!("domain       {}, limbs of {} bits", self.domain, self.limb_bits);
        println!("import       {}", millis(self.import_seconds));
        println!("setup        {}", millis(self.setup_seconds));
        println!("load key     {}", millis(self.load_seconds));
        println!("infer        {}", millis(self.infer_seconds));
        println!(
            "prove        {} (of which witness {})",
            millis(self.prove_seconds),
            millis(self.witness_seconds)
        );
        println!(
            "floor        {} (MSM of {} {}, {FFTS} FFTs of {} {})",
            millis(self.floor_seconds),
            self.domain,
            millis(self.floor_msm_seconds),
            self.floor_fft_size,
            millis(self.floor_ffts_seconds)
        );
        println!("ratio        {:.2} times the floor", self.ratio_to_floor);
        println!("verify       {}", millis(self.verify_seconds));
        println!(
            "batch        {:.0} proofs/s in a batch of {} ({} distinct)",
            self.batch_proofs_per_second, self.batch, self.batch_distinct_proofs
        );
        println!("proof        {} bytes", self.proof_bytes);
        println!("keys         vk {} bytes, pk {}", self.verifying_key_bytes, mib(self.proving_key_bytes));
        println!("peak memory  setup {}, prove {}", peak(self.setup_peak_bytes), peak(self.prove_peak_bytes));
    }
}

/// The middle value, the mean of the two middle ones of an even number; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(low), Some(high)) if values.len().is_multiple_of(2) => (low + high) / 2.0,
        (_, Some(value)) => *value,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
        assert_eq!(median(&mut []), 0.0);
    }
}

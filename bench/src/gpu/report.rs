//! The figures of a run on a device.

use assay_cuda_kernels::ceiling::Ceilings;

use crate::table::table;

#[derive(serde::Serialize)]
pub struct Figures {
    pub measurement: &'static str,
    pub device: String,
    /// What the kernels were loaded from: PTX, or machine code for an architecture.
    pub code: String,
    /// From nothing to a device that computed right: kernels loaded, PTX compiled if it was not before.
    pub opened_seconds: f64,
    pub ceilings: Rates,
    pub rows: Vec<Row>,
}

/// What the device was seen to do at most.
#[derive(serde::Serialize)]
pub struct Rates {
    multiply_adds_32_bit_per_second: f64,
    field_products_per_second: f64,
    tensor_multiply_adds_8_bit_per_second: f64,
    copied_bytes_per_second: f64,
}

#[derive(Clone, serde::Serialize)]
pub struct Row {
    pub what: String,
    pub size: String,
    pub cpu_seconds: Option<f64>,
    pub gpu_seconds: Option<f64>,
    pub kernel_seconds: Option<f64>,
    /// Of the ceiling, by the device's own time.
    pub share: Option<f64>,
}

impl From<Ceilings> for Rates {
    fn from(ceilings: Ceilings) -> Self {
        Self {
            multiply_adds_32_bit_per_second: ceilings.multiply,
            field_products_per_second: ceilings.product,
            tensor_multiply_adds_8_bit_per_second: ceilings.tensor,
            copied_bytes_per_second: ceilings.copy,
        }
    }
}

impl Row {
    pub fn new(what: &str, size: &str) -> Self {
        let (what, size) = (what.to_owned(), size.to_owned());
        Self { what, size, cpu_seconds: None, gpu_seconds: None, kernel_seconds: None, share: None }
    }

    /// A word while it runs.
    pub fn line(&self) -> String {
        let [what, size, cpu, gpu, ..] = self.cells();
        format!("{what} {size}: CPU {cpu} ms, GPU {gpu} ms")
    }

    fn cells(&self) -> [String; 7] {
        let ms = |seconds: Option<f64>| seconds.map_or_else(String::new, |s| format!("{:.2}", s * 1e3));
        let ratio = self.cpu_seconds.zip(self.gpu_seconds).map(|(cpu, gpu)| cpu / gpu);
        [
            self.what.clone(),
            self.size.clone(),
            ms(self.cpu_seconds),
            ms(self.gpu_seconds),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}")),
            ms(self.kernel_seconds),
            self.share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
        ]
    }
}

impl Figures {
    pub fn print(&self) {
        println!("{}; opened in {:.2} s, kernels from {}", self.device, self.opened_seconds, self.code);
        println!(
            "at most {:.2} T 32-bit multiply-adds/s, {:.1} G products of field elements/s, {:.0} T 8-bit multiply-adds/s on \
             tensor cores, {:.2} TB/s copied",
            self.ceilings.multiply_adds_32_bit_per_second / 1e12,
            self.ceilings.field_products_per_second / 1e9,
            self.ceilings.tensor_multiply_adds_8_bit_per_second / 1e12,
            self.ceilings.copied_bytes_per_second / 1e12
        );
        let header = ["", "size", "CPU ms", "GPU ms", "ratio", "kernels ms", "of the ceiling"];
        let mut table = table(&header, &[1, 2, 3, 4, 5, 6]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        println!("{table}");
    }
}

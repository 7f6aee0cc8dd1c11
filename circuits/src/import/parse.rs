//! tract as a parser: from a checked ONNX model to a typed graph with constants folded, and to a runnable
//! float model.
//!
//! Only constants are propagated. tract's further rewriting moves axes between layouts for its own kernels,
//! which would only have to be undone here.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, IntoTValue, TVec, Tensor, TractResult, TypedModel,
    TypedRunnableModel,
};
use tract_onnx::tract_core::optim::Optimizer;

use super::source::{self, Source};
use crate::error::ModelError;
use crate::ir::{Graph, Shape, elements};

/// Types and shapes of every node, constants folded.
pub fn typed(source: &Source) -> Result<TypedModel, ModelError> {
    guarded(|| {
        let mut model = tract_onnx::onnx().model_for_proto_model(&source.proto)?.into_typed()?;
        Optimizer::prop_consts().optimize(&mut model)?;
        model.compact()?;
        Ok(model)
    })
}

/// The float model that an ONNX file describes, as tract computes it: what a quantised model is compared with.
pub struct Reference {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<(String, Shape)>,
    outputs: Vec<String>,
}

impl Reference {
    /// Reads an ONNX file; `dims` binds symbolic dimensions by name.
    pub fn new(bytes: &[u8], dims: &BTreeMap<String, u32>) -> Result<Self, ModelError> {
        Self::build(source::read(bytes, dims)?)
    }

    /// Reads the ONNX file that a graph was imported from: symbolic dimensions are as in the graph.
    pub fn of(bytes: &[u8], graph: &Graph) -> Result<Self, ModelError> {
        let shape = |name: &str| graph.inputs().iter().find(|port| port.name == name).map(|port| &port.shape);
        let source = source::read_with(bytes, |input, axis, _| shape(input)?.get(axis).copied())?;
        let ports = graph.inputs().iter().map(|port| (&port.name, &port.shape));
        let outputs = graph.outputs().iter().map(|output| &output.port.name);
        if !ports.eq(source.inputs.iter().map(|(name, shape)| (name, shape))) || !outputs.eq(&source.outputs)
        {
            return Err(ModelError::Import(
                "its inputs and outputs are not those of the quantised model".into(),
            ));
        }
        Self::build(source)
    }

    fn build(source: Source) -> Result<Self, ModelError> {
        let model = typed(&source)?;
        let plan = guarded(|| model.into_optimized()?.into_runnable())?;
        Ok(Self { plan, inputs: source.inputs, outputs: source.outputs })
    }

    /// Name and shape of every input.
    pub fn inputs(&self) -> &[(String, Shape)] {
        &self.inputs
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs the model on one sample, an input a port in order.
    pub fn run(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let fits = |((_, shape), values): (&(String, Shape), &Vec<f32>)| values.len() == elements(shape);
        if inputs.len() != self.inputs.len() || !self.inputs.iter().zip(inputs).all(fits) {
            return Err(ModelError::Input {
                port: "all".into(),
                expected: format!("{} tensors of the model's shapes", self.inputs.len()),
                got: format!("{} tensors", inputs.len()),
            });
        }
        guarded(|| {
            let values = self.inputs.iter().zip(inputs).map(|((_, shape), values)| {
                let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
                Ok(Tensor::from_shape(&shape, values)?.into_tvalue())
            });
            let outputs = self.plan.run(values.collect::<TractResult<TVec<_>>>()?)?;
            outputs.iter().map(|value| Ok(value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())).collect()
        })
    }
}

thread_local! {
    static IN_TRACT: Cell<bool> = const { Cell::new(false) };
}

/// Runs tract on a model that may be malformed: an error and a panic both become one line.
fn guarded<T>(run: impl FnOnce() -> TractResult<T>) -> Result<T, ModelError> {
    caught(|| run().map_err(|error| ModelError::Import(line(&format!("{error:#}")))))
}

/// Runs what relies on tract's graphs being consistent: a panic becomes an error of one line.
pub fn caught<T>(run: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_TRACT.get() {
                report(info);
            }
        }));
    });
    IN_TRACT.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IN_TRACT.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(ModelError::Import(line(&format!("the parser failed: {text}"))))
    })
}

/// The first 240 characters on one line.
fn line(text: &str) -> String {
    const LENGTH: usize = 240;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_of_one_line() {
        let result: Result<(), _> = caught(|| panic!("index out of bounds:\n the len is {}", 2));
        let line = result.expect_err("it panicked").to_string();
        assert_eq!(line, "import: the parser failed: index out of bounds: the len is 2");
    }

    #[test]
    fn long_messages_are_cut() {
        let cut = line(&"word ".repeat(1000));
        assert!(cut.len() < 250 && cut.ends_with("..."));
        assert_eq!(line("a\n  b"), "a b");
    }
}

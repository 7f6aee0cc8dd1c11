//! The float model, run by tract: what a quantised model is compared with.
//!
//! A file is lowered by our own rules first, which bound every size; only then does tract, which folds constants without
//! bounds, get to see it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use tract_onnx::prelude::{
    DatumType, Framework, InferenceModelExt, IntoRunnable, IntoTValue, TVec, Tensor, TractResult,
    TypedRunnableModel,
};

use super::Options;
use super::source::{self, Binding, Input, Source};
use crate::error::ModelError;
use crate::ir::{Graph, Port, Shape, elements};

/// The float model that an ONNX file describes, as tract computes it: what a quantised model is compared with.
pub struct Reference {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Input>,
    types: Vec<DatumType>,
    outputs: Vec<String>,
}

/// Shapes as in a graph that was imported before.
struct Known<'a> {
    graph: &'a Graph,
    constants: &'a BTreeMap<String, Vec<f64>>,
}

impl Known<'_> {
    fn port(&self, input: &str) -> Option<&Port> {
        self.graph.inputs().iter().find(|port| port.name == input)
    }
}

impl Binding for Known<'_> {
    fn size(&mut self, input: &str, axis: usize, _symbol: &str) -> Option<u32> {
        self.port(input)?.shape.get(axis).copied()
    }

    fn shape(&mut self, input: &str) -> Option<Shape> {
        self.port(input).map(|port| port.shape.clone())
    }

    fn constant(&mut self, input: &str) -> Option<Vec<f64>> {
        self.constants.get(input).cloned()
    }
}

impl Reference {
    /// Reads an ONNX file; the options bind dimensions, shapes and values of inputs.
    pub fn new(bytes: &[u8], options: &Options) -> Result<Self, ModelError> {
        Self::build(source::read(bytes, options)?)
    }

    /// Reads the ONNX file that a graph was imported from: shapes are as in the graph, inputs that it lacks have the
    /// given values.
    pub fn of(
        bytes: &[u8],
        graph: &Graph,
        constants: &BTreeMap<String, Vec<f64>>,
    ) -> Result<Self, ModelError> {
        let source = source::read_with(bytes, &mut Known { graph, constants })?;
        let ports = graph.inputs().iter().map(|port| (&port.name, &port.shape));
        let outputs = graph.outputs().iter().map(|output| &output.port.name);
        if !ports.eq(source.inputs.iter().map(|input| (&input.name, &input.shape)))
            || !outputs.eq(&source.outputs)
        {
            return Err(ModelError::Import(
                "its inputs and outputs are not those of the quantised model".into(),
            ));
        }
        Self::build(source)
    }

    fn build(source: Source) -> Result<Self, ModelError> {
        let Source { mut proto, inputs, constants, outputs, opset } = source;
        let source = Source { proto: proto.clone(), inputs, constants, outputs, opset };
        super::lower::network(&source)?;
        if let Some(graph) = &mut proto.graph {
            graph.input.retain(|input| !source.constants.contains_key(&input.name));
            graph.initializer.extend(source.constants.iter().map(|(name, tensor)| tensor.to_proto(name)));
            // Recorded shapes may contradict the bound ones.
            graph.output.iter_mut().for_each(|output| output.r#type = None);
        }
        let plan =
            guarded(|| tract_onnx::onnx().model_for_proto_model(&proto)?.into_optimized()?.into_runnable())?;
        let types = guarded(|| {
            let model = plan.model();
            model.input_outlets()?.iter().map(|outlet| Ok(model.outlet_fact(*outlet)?.datum_type)).collect()
        })?;
        Ok(Self { plan, inputs: source.inputs, types, outputs: source.outputs })
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs the model on one sample, an input a port in order.
    pub fn run(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let fits = |(input, values): (&Input, &Vec<f32>)| values.len() == elements(&input.shape);
        if inputs.len() != self.inputs.len() || !self.inputs.iter().zip(inputs).all(fits) {
            return Err(ModelError::Input {
                port: "all".into(),
                expected: format!("{} tensors of the model's shapes", self.inputs.len()),
                got: format!("{} tensors", inputs.len()),
            });
        }
        guarded(|| {
            let inputs = self.inputs.iter().zip(&self.types).zip(inputs);
            let values = inputs.map(|((input, r#type), values)| {
                let shape: Vec<usize> = input.shape.iter().map(|&d| d as usize).collect();
                let tensor = Tensor::from_shape(&shape, values)?;
                Ok(tensor.cast_to_dt(*r#type)?.into_owned().into_tvalue())
            });
            let outputs = self.plan.run(values.collect::<TractResult<TVec<_>>>()?)?;
            let floats = outputs.iter().map(|value| {
                let tensor = value.cast_to::<f32>()?;
                Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
            });
            floats.collect()
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

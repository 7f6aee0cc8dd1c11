//! ONNX files made by hand.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto::Dimension, tensor_shape_proto::dimension::Value, type_proto,
};

/// A model under construction.
#[derive(Clone)]
pub struct Onnx {
    pub proto: ModelProto,
    seed: u64,
}

/// A size or a symbol.
pub enum Dim {
    Size(i64),
    Symbol(&'static str),
}

impl Onnx {
    /// One input `x`.
    pub fn new(shape: &[i64]) -> Self {
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        let graph = GraphProto { name: "test".into(), ..GraphProto::default() };
        let proto = ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(graph),
            ..ModelProto::default()
        };
        Self { proto, seed: 1 }.input("x", shape.iter().map(|&size| Dim::Size(size)).collect())
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    pub fn input(mut self, name: &str, shape: Vec<Dim>) -> Self {
        self.graph().input.push(value(name, shape));
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(value(name, Vec::new()));
        self
    }

    /// A node named like its output.
    pub fn node(self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> Self {
        self.nodes(op, inputs, &[output], attribute)
    }

    /// A node with several outputs, named like the first.
    pub fn nodes(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> Self {
        self.graph().node.push(NodeProto {
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: outputs.iter().map(|&name| name.into()).collect(),
            name: outputs[0].into(),
            op_type: op.into(),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    pub fn constant(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<i64>(), values.len() as i64);
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(tensor(name, DataType::Float, dims, raw_data));
        self
    }

    pub fn integers(mut self, name: &str, values: &[i64]) -> Self {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(tensor(name, DataType::Int64, &[values.len() as i64], raw_data));
        self
    }

    /// Unsigned bytes.
    pub fn bytes_of(mut self, name: &str, dims: &[i64], values: &[u8]) -> Self {
        self.graph().initializer.push(tensor(name, DataType::Uint8, dims, values.to_vec()));
        self
    }

    /// Weights uniform in `lo..hi`, different for every call.
    pub fn weights(mut self, name: &str, dims: &[i64], lo: f32, hi: f32) -> Self {
        self.seed += 1;
        let count = dims.iter().product::<i64>() as usize;
        let values = uniform(self.seed, count, lo, hi);
        self.constant(name, dims, &values)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

pub fn tensor(name: &str, kind: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    let (name, data_type) = (name.into(), kind as i32);
    TensorProto { name, data_type, dims: dims.to_vec(), raw_data, ..TensorProto::default() }
}

fn value(name: &str, shape: Vec<Dim>) -> ValueInfoProto {
    let dim = |dim| match dim {
        Dim::Size(size) => Value::DimValue(size),
        Dim::Symbol(name) => Value::DimParam(name.into()),
    };
    let dim = |d| Dimension { value: Some(dim(d)), ..Dimension::default() };
    let shape = Some(TensorShapeProto { dim: shape.into_iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (name, ints) = (name.into(), values.to_vec());
    AttributeProto { name, r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float as i32,
        f: value,
        ..AttributeProto::default()
    }
}

pub fn string(name: &str, value: &str) -> AttributeProto {
    let (name, s) = (name.into(), value.as_bytes().to_vec());
    AttributeProto { name, r#type: AttributeType::String as i32, s, ..AttributeProto::default() }
}

/// A fixed sequence of numbers in `lo..hi`.
pub fn uniform(seed: u64, count: usize, lo: f32, hi: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        lo + (hi - lo) * (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

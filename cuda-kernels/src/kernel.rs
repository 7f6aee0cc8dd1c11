//! The kernels by name, and how they are called. Each is in `kernels/`, compiled to the PTX in `ptx/`.

macro_rules! kernels {
    ($($image:literal: $($variant:ident $name:literal),* $(,)?;)*) => {
        /// Every kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kernel {
            $($(#[doc = $name] $variant,)*)*
        }

        impl Kernel {
            /// All of them.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$($(Self::$variant,)*)*];

            /// Name in its source.
            pub fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            /// Bytes of memory that a block of it is given when it is launched, beside what its source names.
            pub fn shared(self) -> u32 {
                match self {
                    Self::GemmTensor => 4 * (128 + 128) * 64,
                    _ => 0,
                }
            }

            /// Which of the images of `image.rs` it is in.
            pub fn image(self) -> usize {
                match self { $($(Self::$variant => $image,)*)* }
            }
        }
    };
}

kernels! {
    0:
        Split "split", Gemm "gemm", Convolve "convolve", ConvolveDirect "convolve_direct", Sparse "sparse",
        Combine "combine", Select "select", Multiply "multiply", MaxPool "max_pool", Max "max_group",
        Table "table", Requantize "requantize", Root "root";
    1:
        First "ntt_first", Pass "ntt_pass", Radix3 "ntt_radix3", FieldMultiply "field_multiply",
        FieldSmall "field_small", FieldChosen "field_chosen";
    2:
        DigitsField "digits_field", DigitsSmall "digits_small", DigitsGroup "digits_group", Scan "scan",
        Scatter "scatter", SumG1 "sum_points_g1", SumG2 "sum_points_g2", MergeG1 "merge_g1", MergeG2 "merge_g2",
        TreeG1 "merge_tree_g1", TreeG2 "merge_tree_g2", WeighG1 "weigh_g1", WeighG2 "weigh_g2",
        AffineG1 "to_affine_g1", AffineG2 "to_affine_g2";
    3:
        GemmTensor "gemm_tensor";
    4:
        CeilingMultiply "ceiling_multiply", CeilingProduct "ceiling_product", CeilingTensor "ceiling_tensor",
        CeilingCopy "ceiling_copy";
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A buffer.
    Address(u64),
    /// A 32-bit integer without sign.
    U32(u32),
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer without sign.
    U64(u64),
    /// A 64-bit integer.
    I64(i64),
}

#[cfg_attr(not(devices), expect(dead_code, reason = "no kernel is launched in this build"))]
impl Arg {
    /// An address some bytes on; other arguments as they are.
    pub fn after(self, bytes: usize) -> Self {
        match self {
            Self::Address(address) => Self::Address(address + bytes as u64),
            other => other,
        }
    }

    /// Its bytes, little-endian, zeros after them.
    pub fn bits(self) -> u64 {
        match self {
            Self::Address(value) | Self::U64(value) => value,
            Self::U32(value) => value.into(),
            Self::I32(value) => value.cast_unsigned().into(),
            Self::I64(value) => value.cast_unsigned(),
        }
    }
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(devices), expect(dead_code, reason = "no kernel is launched in this build"))]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
}

impl Grid {
    /// One thread for each of `count` elements, `rows` times.
    pub fn each(count: usize, rows: usize) -> Self {
        Self { blocks: [count.div_ceil(256) as u32, rows as u32, 1], threads: 256 }
    }
}

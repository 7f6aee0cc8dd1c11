//! Maximum over windows. The padding never wins: a window sees only the taps that lie in the image.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::linear::Window;

/// `y[c,i,j] = max over taps of x[c, ..]`, over `[1, C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel: [u32; 2],
    /// Window geometry.
    pub window: Window,
}

impl MaxPool2d {
    /// Calls `each(input)` for every tap of an output, in row-major order of the window.
    pub fn taps(&self, output: usize, input: [u32; 3], out: [u32; 3], mut each: impl FnMut(usize)) {
        let output = output as u32;
        let (channel, position) = (output / (out[1] * out[2]), output % (out[1] * out[2]));
        let at = [position / out[2], position % out[2]];
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                if let Some([y, x]) = self.window.tap(at, [ky, kx], [input[1], input[2]]) {
                    each(((channel * input[1] + y) * input[2] + x) as usize);
                }
            }
        }
    }
}

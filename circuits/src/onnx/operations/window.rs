//! Windows that slide over an image: their sizes and padding, as convolutions and pools have them.

use crate::onnx::{builder::Lowered, call::Call};

/// One axis of a sliding window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Size of the image.
    pub(super) size: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Padding before and after the image.
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Positions of the window.
    pub(super) outputs: usize,
}

impl Window {
    /// Distance from the first tap to the one after the last.
    pub(super) fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Where a tap at a position reads, in the image from 0; padding is negative or past the size.
    pub(super) fn reads(&self, position: usize, tap: usize) -> i64 {
        (position * self.stride + tap * self.dilation) as i64 - self.begin as i64
    }

    fn check(&self) -> Lowered<()> {
        // Far above any real one, and far below what might overflow.
        const MOST: usize = 1 << 24;
        let parts = [self.kernel, self.stride, self.dilation];
        if parts.contains(&0) || parts.iter().any(|&p| p > MOST) || self.begin.max(self.end).max(self.size) > MOST {
            return Err(format!(
                "kernel {}, stride {}, dilation {}, pads {} and {}; expected 1 to {MOST}, pads from 0",
                self.kernel, self.stride, self.dilation, self.begin, self.end
            ));
        }
        Ok(())
    }
}

/// Integers of an attribute, one for each spatial axis.
pub(super) fn per_axis(call: &Call<'_>, name: &str, count: usize, default: usize) -> Lowered<Vec<usize>> {
    let Some(list) = call.integers(name)? else { return Ok(vec![default; count]) };
    let numbers: Option<Vec<usize>> = list.iter().map(|&v| usize::try_from(v).ok()).collect();
    numbers.filter(|n| n.len() == count).ok_or_else(|| {
        let shown = &list[..list.len().min(8)];
        format!("{name} {shown:?}; expected {count} of them, none negative")
    })
}

/// The windows of a node over an image of these sizes.
pub(super) fn windows(call: &Call<'_>, sizes: &[usize], kernel: &[usize], ceil: bool) -> Lowered<Vec<Window>> {
    let count = sizes.len();
    if kernel.len() != count {
        return Err(format!("a kernel of {} axes over an image of {count}", kernel.len()));
    }
    let strides = per_axis(call, "strides", count, 1)?;
    let dilations = per_axis(call, "dilations", count, 1)?;
    let pads = per_axis(call, "pads", 2 * count, 0)?;
    let automatic = call.text("auto_pad", "NOTSET")?;
    let mut windows = Vec::with_capacity(count);
    for axis in 0..count {
        let mut window = Window {
            size: sizes[axis],
            kernel: kernel[axis],
            stride: strides[axis],
            dilation: dilations[axis],
            begin: pads[axis],
            end: pads[axis + count],
            outputs: 0,
        };
        window.check()?;
        let reach = window.reach();
        match automatic {
            "NOTSET" => {}
            "VALID" => (window.begin, window.end) = (0, 0),
            "SAME_UPPER" | "SAME_LOWER" => {
                let outputs = window.size.div_ceil(window.stride);
                let total = (outputs.saturating_sub(1) * window.stride + reach).saturating_sub(window.size);
                let less = total / 2;
                let begin = if automatic == "SAME_UPPER" { less } else { total - less };
                (window.begin, window.end) = (begin, total - begin);
            }
            other => return Err(format!("auto_pad '{other}'; expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")),
        }
        let padded = window.size + window.begin + window.end;
        let free = padded.checked_sub(reach).ok_or_else(|| {
            format!("a window of {reach} does not fit an image of {} with its padding, {padded}", window.size)
        })?;
        window.outputs = if ceil { free.div_ceil(window.stride) } else { free / window.stride } + 1;
        // A window that would start in the padding after the image is left out.
        if ceil && (window.outputs - 1) * window.stride >= window.size + window.begin {
            window.outputs -= 1;
        }
        windows.push(window);
    }
    Ok(windows)
}

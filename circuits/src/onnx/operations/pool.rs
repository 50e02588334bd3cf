//! Pooling: the values of each window, and their largest or their sum.

use super::{
    Results,
    window::{Window, per_axis, windows},
};
use crate::{
    graph::VOID,
    network::{Op, ValueId},
    onnx::{
        builder::{Builder, Lowered},
        call::Call,
        tensor::count,
        view::{Loops, strides},
    },
};

/// The taps of every position, row-major, position by position: where in the image each reads; [`VOID`] outside it.
pub(super) fn taken(windows: &[Window]) -> Vec<u32> {
    let sizes: Vec<usize> = windows.iter().map(|w| w.size).collect();
    let strides = strides(&sizes);
    let parts = |size: fn(&Window) -> usize| windows.iter().map(size).collect::<Vec<_>>();
    let (positions, taps) = (parts(|w| w.outputs), parts(|w| w.kernel));
    let (mut position, mut tap) = (vec![0; windows.len()], vec![0; windows.len()]);
    let read = |position: &[usize], tap: &[usize]| {
        let axes = windows.iter().zip(&strides).zip(position.iter().zip(tap));
        let places = axes.map(|((window, stride), (&position, &tap))| {
            let place = usize::try_from(window.reads(position, tap)).ok().filter(|&p| p < window.size)?;
            Some(place * *stride as usize)
        });
        places.sum::<Option<usize>>().map_or(VOID, |at| at as u32)
    };
    let entries = positions.iter().chain(&taps).product();
    let mut list = Vec::with_capacity(entries);
    while list.len() < entries {
        list.push(read(&position, &tap));
        if step(&mut tap, &taps) {
            step(&mut position, &positions);
        }
    }
    list
}

/// To the next of all combinations, the last number fastest; whether it begins again.
fn step(at: &mut [usize], sizes: &[usize]) -> bool {
    for (at, &size) in at.iter_mut().zip(sizes).rev() {
        *at += 1;
        if *at < size {
            return false;
        }
        *at = 0;
    }
    true
}

/// `[n, c, image]` and the windows of a pool.
fn pool_windows(builder: &Builder, call: &Call<'_>) -> Lowered<(ValueId, Vec<Window>)> {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let shape = builder.shape(x);
    if shape.len() < 3 {
        return Err(format!("an image of shape {shape:?}; expected three or more axes"));
    }
    if !call.has("kernel_shape") {
        return Err("no attribute 'kernel_shape'".into());
    }
    let kernel = per_axis(call, "kernel_shape", shape.len() - 2, 1)?;
    let windows = windows(call, &shape[2..], &kernel, call.flag("ceil_mode", false)?)?;
    let mut all = shape[..2].to_vec();
    all.extend(windows.iter().flat_map(|w| [w.outputs, w.kernel]));
    builder.allow_entries(count(&all)?)?;
    Ok((x, windows))
}

/// The values of each window as a wire to `[.., k]` (`fan_in` 1) or their sums; `taken` where some reach outside the image.
fn gather(builder: &mut Builder, x: ValueId, windows: &[Window], sums: bool, taken: Option<Vec<u32>>) -> Lowered {
    let from = builder.shape(x).to_vec();
    let taps: usize = windows.iter().map(|w| w.kernel).product();
    let mut shape = from[..2].to_vec();
    shape.extend(windows.iter().map(|w| w.outputs));
    if !sums {
        shape.push(taps);
    }
    let fan_in = if sums { taps } else { 1 };
    count(&shape)?;
    let (planes, plane) = (from[0] * from[1], from[2..].iter().product::<usize>());
    match taken {
        Some(taken) => {
            let entry = |base: usize, at: u32| if at == VOID { VOID } else { base as u32 + at };
            let index = (0..planes).flat_map(|p| taken.iter().map(move |&at| entry(p * plane, at))).collect();
            builder.listed(&[x], index, fan_in, shape)
        }
        None => {
            let strides = strides(&from[2..]);
            let axes = || windows.iter().zip(&strides);
            let mut loops = vec![(planes, plane as i64)];
            loops.extend(axes().map(|(w, s)| (w.outputs, w.stride as i64 * s)));
            loops.extend(axes().map(|(w, s)| (w.kernel, w.dilation as i64 * s)));
            builder.loops(x, Loops { offset: 0, loops }, fan_in, shape)
        }
    }
}

fn inside(windows: &[Window]) -> bool {
    windows.iter().all(|w| w.begin == 0 && (w.outputs - 1) * w.stride + w.reach() <= w.size)
}

/// MaxPool: a tap in the padding takes another tap of its window instead, which changes no maximum.
pub(super) fn max_pool(builder: &mut Builder, call: &Call<'_>) -> Results {
    if call.wants(1) {
        return Err("its second output, the positions of the largest, is not supported".into());
    }
    // It orders the positions, which are refused.
    let _ = call.integer("storage_order")?;
    let (x, windows) = pool_windows(builder, call)?;
    let taps: usize = windows.iter().map(|w| w.kernel).product();
    let taken = match inside(&windows) {
        true => None,
        false => {
            let mut taken = taken(&windows);
            for window in taken.chunks_exact_mut(taps) {
                let some = window.iter().copied().find(|&at| at != VOID);
                let some = some.ok_or("a window that lies in the padding alone has no largest value")?;
                window.iter_mut().filter(|at| **at == VOID).for_each(|at| *at = some);
            }
            Some(taken)
        }
    };
    let patches = gather(builder, x, &windows, false, taken)?;
    Ok(vec![largest(builder, patches)?])
}

/// The largest along the last axis.
pub(super) fn largest(builder: &mut Builder, x: ValueId) -> Lowered {
    let (&k, shape) = builder.shape(x).split_last().ok_or("a scalar has no axis to reduce")?;
    if k == 0 {
        return Err("the largest of no values".into());
    }
    let (shape, element) = (shape.to_vec(), builder.element(x));
    if k == 1 {
        return builder.reshape(x, &shape);
    }
    builder.emit(Op::ReduceMax, &[x], shape, element)
}

/// AveragePool: sums of windows times one over what is counted.
pub(super) fn average_pool(builder: &mut Builder, call: &Call<'_>) -> Results {
    let padding_counts = call.flag("count_include_pad", false)?;
    let (x, windows) = pool_windows(builder, call)?;
    if inside(&windows) {
        let sums = gather(builder, x, &windows, true, None)?;
        let taps: usize = windows.iter().map(|w| w.kernel).product();
        return Ok(vec![builder.scale(sums, 1.0 / taps as f64)?]);
    }
    let taken = taken(&windows);
    let sums = gather(builder, x, &windows, true, Some(taken))?;
    // What a window counts is the product of what it counts along each axis.
    let mut inverse = vec![1.0];
    for window in &windows {
        let counted = |position: usize| {
            let (low, high) = match padding_counts {
                true => (-(window.begin as i64), (window.size + window.end) as i64),
                false => (0, window.size as i64),
            };
            (0..window.kernel).filter(|&tap| (low..high).contains(&window.reads(position, tap))).count()
        };
        let along: Vec<usize> = (0..window.outputs).map(counted).collect();
        if along.contains(&0) {
            return Err("a window that lies in the padding alone has no average".into());
        }
        inverse = inverse.iter().flat_map(|i| along.iter().map(move |&n| i / n as f64)).collect();
    }
    let shape: Vec<usize> = windows.iter().map(|w| w.outputs).collect();
    let inverse = builder.constant(shape, builder.element(x), inverse)?;
    Ok(vec![builder.binary(Op::Mul, sums, inverse)?])
}

/// GlobalAveragePool and GlobalMaxPool.
pub(super) fn global_pool(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let shape = builder.shape(x).to_vec();
    if shape.len() < 3 {
        return Err(format!("an image of shape {shape:?}; expected three or more axes"));
    }
    let axes: Vec<usize> = (2..shape.len()).collect();
    if call.proto.op_type == "GlobalAveragePool" {
        let sum = builder.sum(x, &axes)?;
        let size: usize = shape[2..].iter().product();
        return Ok(vec![builder.scale(sum, 1.0 / size as f64)?]);
    }
    let flat = builder.gather_last(x, &axes)?;
    let result = largest(builder, flat)?;
    let mut narrow = shape;
    narrow[2..].fill(1);
    Ok(vec![builder.reshape(result, &narrow)?])
}

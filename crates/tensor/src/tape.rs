//! The autograd tape: what was computed, and how to run it backwards.

use std::sync::Arc;

use luban_kernels::elementwise;
use luban_kernels::matmul::Accumulate;

use crate::precision::Precision;
use crate::storage::{Buffer, Tensor};

/// A tensor on a tape.
///
/// It carries its own value: the tape keeps only what backward passes saved, so a value is freed as soon as
/// nothing needs it.
#[derive(Clone, Debug)]
pub struct Var {
    id: usize,
    value: Tensor,
    needs_grad: bool,
}

impl Var {
    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The value, given up.
    pub fn into_value(self) -> Tensor {
        self.value
    }

    /// Whether a gradient flows to it.
    pub fn needs_grad(&self) -> bool {
        self.needs_grad
    }

    /// Its place in the graph, without its value: what a node keeps of an input.
    pub fn edge(&self) -> Edge {
        Edge { id: self.id, needs_grad: self.needs_grad }
    }
}

/// A variable's place in the graph.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    id: usize,
    needs_grad: bool,
}

type BackwardPass = Box<dyn FnOnce(&mut Backward<'_>) + Send>;

struct Node {
    inputs: Vec<Edge>,
    outputs: Vec<usize>,
    backward: BackwardPass,
}

/// What was computed, in order.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
    gradients: Vec<Option<Arc<Buffer>>>,
    precision: Precision,
}

impl Tape {
    /// An empty tape, in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty tape whose matrix products, forward and backward, are of the given precision.
    pub fn with_precision(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    /// What the matrix products round their factors to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A value that comes from outside: a parameter, or data.
    pub fn leaf(&mut self, value: Tensor, needs_grad: bool) -> Var {
        self.var(value, needs_grad)
    }

    /// A leaf to whose gradient the backward pass adds what is already there.
    pub fn leaf_with_grad(&mut self, value: Tensor, grad: Option<Buffer>) -> Var {
        self.leaf_with_shared_grad(value, grad.map(Arc::new))
    }

    /// As [`Tape::leaf_with_grad`], with memory that others may hold too.
    pub(crate) fn leaf_with_shared_grad(&mut self, value: Tensor, grad: Option<Arc<Buffer>>) -> Var {
        let var = self.var(value, true);
        self.gradients[var.id] = grad;
        var
    }

    /// An empty tape of the same settings.
    pub(crate) fn another(&self) -> Self {
        Self::with_precision(self.precision)
    }

    fn var(&mut self, value: Tensor, needs_grad: bool) -> Var {
        self.gradients.push(None);
        Var { id: self.gradients.len() - 1, value, needs_grad }
    }

    /// Records an operation: its inputs, the values of its outputs, and its backward pass.
    ///
    /// Nothing is recorded where no input needs a gradient.
    pub fn record<const OUTPUTS: usize>(
        &mut self,
        inputs: &[Edge],
        outputs: [Tensor; OUTPUTS],
        backward: impl FnOnce(&mut Backward<'_>) + Send + 'static,
    ) -> [Var; OUTPUTS] {
        let needs_grad = inputs.iter().any(|input| input.needs_grad);
        let outputs = outputs.map(|value| self.var(value, needs_grad));
        if needs_grad {
            self.nodes.push(Node {
                inputs: inputs.to_vec(),
                outputs: outputs.iter().map(|output| output.id).collect(),
                backward: Box::new(backward),
            });
        }
        outputs
    }

    /// Adds to a variable's gradient before the backward pass: for operations at the end of a computation that
    /// find the gradients of their inputs while they compute their value.
    pub fn gradient_in_advance(&mut self, var: &Var, add: impl FnOnce(&mut [f32], Accumulate)) {
        let length = var.value.len();
        let (mut buffer, accumulate) = take(&mut self.gradients[var.id], length);
        add(&mut buffer, accumulate);
        self.gradients[var.id] = Some(Arc::new(buffer));
    }

    /// Runs backwards from a scalar whose gradient is 1, freeing each node as it is passed.
    ///
    /// # Panics
    /// If `loss` is not a single number.
    pub fn backward(self, loss: &Var) -> Gradients {
        assert_eq!(loss.value.len(), 1, "a backward pass starts from a scalar");
        self.backward_from(loss.edge(), Arc::new(Buffer::copied(&[1.0])))
    }

    /// Runs backwards from any variable, given its gradient.
    pub(crate) fn backward_from(mut self, from: Edge, gradient: Arc<Buffer>) -> Gradients {
        self.gradients[from.id] = Some(gradient);
        while let Some(node) = self.nodes.pop() {
            // Where no gradient came, nothing is to be done.
            if node.outputs.iter().any(|&output| self.gradients[output].is_some()) {
                let mut pass =
                    Backward { inputs: &node.inputs, outputs: &node.outputs, gradients: &mut self.gradients };
                (node.backward)(&mut pass);
            }
            for output in node.outputs {
                self.gradients[output] = None;
            }
        }
        Gradients(self.gradients)
    }
}

/// The gradients that a backward pass left at the leaves.
#[derive(Debug)]
pub struct Gradients(Vec<Option<Arc<Buffer>>>);

impl Gradients {
    /// The gradient of a leaf, if any came.
    pub fn of(&self, var: &Var) -> Option<&[f32]> {
        self.0.get(var.id)?.as_ref().map(|gradient| &***gradient)
    }

    /// The gradient of a leaf, taken out.
    pub fn take(&mut self, var: &Var) -> Option<Buffer> {
        let gradient = self.take_shared(var.edge())?;
        Some(Arc::try_unwrap(gradient).unwrap_or_else(|shared| Buffer::copied(&shared)))
    }

    /// As [`Gradients::take`], shared or not.
    pub(crate) fn take_shared(&mut self, leaf: Edge) -> Option<Arc<Buffer>> {
        self.0.get_mut(leaf.id)?.take()
    }
}

/// What a node's backward pass sees: the gradients of its outputs, and places for those of its inputs.
pub struct Backward<'a> {
    inputs: &'a [Edge],
    outputs: &'a [usize],
    gradients: &'a mut Vec<Option<Arc<Buffer>>>,
}

impl Backward<'_> {
    /// Whether the gradient of an input is asked for.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs[input].needs_grad
    }

    /// The gradient of an output; nothing where none came.
    pub fn output(&self, output: usize) -> Option<Arc<Buffer>> {
        self.gradients[self.outputs[output]].clone()
    }

    /// The gradient of an output, taken out so that its memory can be used again.
    pub fn take_output(&mut self, output: usize) -> Option<Arc<Buffer>> {
        self.gradients[self.outputs[output]].take()
    }

    /// Adds to an input's gradient, if it is asked for: `add` writes to memory of the given length, over it or
    /// added to what is there.
    pub fn accumulate(&mut self, input: usize, length: usize, add: impl FnOnce(&mut [f32], Accumulate)) {
        if let Some((mut buffer, accumulate)) = self.slot(input, length) {
            add(&mut buffer, accumulate);
            self.put(input, buffer);
        }
    }

    /// Takes out the memory of an input's gradient, if it is asked for; [`Self::put`] brings it back.
    pub fn slot(&mut self, input: usize, length: usize) -> Option<(Buffer, Accumulate)> {
        let Edge { id, needs_grad: wanted } = self.inputs[input];
        wanted.then(|| take(&mut self.gradients[id], length))
    }

    /// As [`Self::slot`], with zeros where nothing was there yet, for passes that only ever add.
    pub fn slot_to_add(&mut self, input: usize, length: usize) -> Option<Buffer> {
        let (mut buffer, accumulate) = self.slot(input, length)?;
        if accumulate == Accumulate::Overwrite {
            buffer.fill(0.0);
        }
        Some(buffer)
    }

    /// Brings back memory that [`Self::slot`] took out.
    pub fn put(&mut self, input: usize, buffer: Buffer) {
        self.gradients[self.inputs[input].id] = Some(Arc::new(buffer));
    }

    /// Takes out what is there so far of an input's gradient; [`Self::give`] brings it back.
    pub(crate) fn lend(&mut self, input: usize) -> Option<Arc<Buffer>> {
        self.gradients[self.inputs[input].id].take()
    }

    /// Adds a whole gradient to an input's; shared as long as nobody changes it.
    pub fn give(&mut self, input: usize, gradient: Arc<Buffer>) {
        let Edge { id, needs_grad: wanted } = self.inputs[input];
        if !wanted {
            return;
        }
        match &mut self.gradients[id] {
            empty @ None => *empty = Some(gradient),
            there @ Some(_) => {
                let (mut buffer, _) = take(there, gradient.len());
                elementwise::add_assign(&mut buffer, &gradient);
                *there = Some(Arc::new(buffer));
            }
        }
    }
}

/// The memory at a place, or fresh memory; a copy where somebody else still holds it.
fn take(place: &mut Option<Arc<Buffer>>, length: usize) -> (Buffer, Accumulate) {
    match place.take() {
        None => (Buffer::scratch(length), Accumulate::Overwrite),
        Some(shared) => {
            assert_eq!(shared.len(), length, "a gradient has another length than its value");
            (Arc::try_unwrap(shared).unwrap_or_else(|shared| Buffer::copied(&shared)), Accumulate::Add)
        }
    }
}

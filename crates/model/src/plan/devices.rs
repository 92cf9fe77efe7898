//! How many devices of a given memory hold a training run.
//!
//! With W, G and O the bytes of weights, gradients and optimizer state, A the activations of one micro-batch on one
//! device (logits included) and M the memory of a device, the smallest n is sought for which
//!
//! | strategy | bytes on one device |
//! |---|---|
//! | data parallel, ZeRO-0 | W + G + O + A |
//! | data parallel, ZeRO-1 | W + G + O / n + A |
//! | data parallel, ZeRO-3 | (W + G + O) / n + w + A, with w the largest part that is gathered at once |
//! | tensor parallel | (W + G + O + A) / n; n divides the heads |
//! | pipeline parallel | W + G + O of the fullest of n runs of layers, and A of the micro-batches in flight there |
//! | tensor × pipeline | both: the pipeline's bytes divided by the tensor degree, at most 8 |
//!
//! is at most M. ZeRO is Rajbhandari et al. 2020 (arXiv 1910.02054); tensor parallelism divides activations too, as
//! sequence parallelism does (Korthikanti et al. 2022); the pipeline's schedule is one forward, one backward
//! (Narayanan et al. 2021, arXiv 2104.04473), whose stage i of n keeps n − i micro-batches in flight.

use serde::Serialize;

use super::memory::{TrainingMemory, TrainingSetup, layer_activation_bytes, layer_input_bytes, logits_bytes};
use super::parameters::Parameters;
use crate::spec::{Head, Spec};
use crate::weights::{Slot, slots};

/// Tensor parallelism beyond one machine's devices is slow; eight is a machine.
const TENSOR_DEGREE_MAX: usize = 8;

/// How work is divided over devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Whole replicas.
    DataZero0,
    /// Replicas that divide the optimizer's state.
    DataZero1,
    /// Replicas that divide weights, gradients and the optimizer's state.
    DataZero3,
    /// Every matrix cut across devices.
    Tensor,
    /// Runs of layers.
    Pipeline,
    /// Runs of layers, each cut across at most eight devices.
    TensorPipeline,
}

impl Strategy {
    /// Every strategy, in the order of the table above.
    pub const ALL: [Self; 6] =
        [Self::DataZero0, Self::DataZero1, Self::DataZero3, Self::Tensor, Self::Pipeline, Self::TensorPipeline];

    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::DataZero0 => "data, ZeRO-0",
            Self::DataZero1 => "data, ZeRO-1",
            Self::DataZero3 => "data, ZeRO-3",
            Self::Tensor => "tensor",
            Self::Pipeline => "pipeline",
            Self::TensorPipeline => "tensor x pipeline",
        }
    }

    /// The bytes on one device, as a formula.
    pub fn formula(self) -> &'static str {
        match self {
            Self::DataZero0 => "W + G + O + A",
            Self::DataZero1 => "W + G + O/n + A",
            Self::DataZero3 => "(W + G + O)/n + w + A",
            Self::Tensor => "(W + G + O + A)/n, n divides the heads",
            Self::Pipeline => "W + G + O + A of the fullest of n runs of layers",
            Self::TensorPipeline => "the pipeline's, divided by the tensor degree",
        }
    }
}

/// What the devices are and how activations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// Bytes of one device.
    pub device_bytes: u64,
    /// Whether activations are computed again in the backward pass.
    pub recompute: bool,
}

/// The smallest number of devices for one strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// How the work is divided.
    pub strategy: Strategy,
    /// The smallest number of devices that holds it; none where no number does.
    pub devices: Option<u64>,
    /// Devices that share each matrix.
    pub tensor: u64,
    /// Runs of layers.
    pub pipeline: u64,
    /// Bytes on the fullest device at that number, or at the best that can be done.
    pub bytes_per_device: u64,
}

/// The smallest placement for every strategy.
pub fn placements(spec: &Spec, setup: &TrainingSetup, cluster: &Cluster) -> Vec<Placement> {
    let memory = TrainingMemory::of(spec, setup);
    let search = Search { spec, setup, cluster, memory, places: parameters_by_place(spec) };
    Strategy::ALL.map(|strategy| search.place(strategy)).to_vec()
}

struct Search<'a> {
    spec: &'a Spec,
    setup: &'a TrainingSetup,
    cluster: &'a Cluster,
    memory: TrainingMemory,
    /// Parameters before the layers, of one layer, and after them.
    places: [u64; 3],
}

impl Search<'_> {
    fn place(&self, strategy: Strategy) -> Placement {
        let TrainingMemory { weights, gradients, optimizer, .. } = self.memory;
        match strategy {
            Strategy::DataZero0 => self.data(strategy, weights + gradients + optimizer, 0),
            Strategy::DataZero1 => self.data(strategy, weights + gradients, optimizer),
            Strategy::DataZero3 => self.data(strategy, self.gathered_bytes(), weights + gradients + optimizer),
            Strategy::Tensor => self.grid(strategy, self.spec.heads, 1),
            Strategy::Pipeline => self.grid(strategy, 1, self.spec.layers),
            Strategy::TensorPipeline => self.grid(strategy, TENSOR_DEGREE_MAX, self.spec.layers),
        }
    }

    /// `kept` stays whole on every device, `divided` is shared by all.
    fn data(&self, strategy: Strategy, kept: u64, divided: u64) -> Placement {
        let kept = kept + self.activation_bytes();
        let room = self.cluster.device_bytes.saturating_sub(kept);
        let devices = match (divided, room) {
            (0, _) if kept <= self.cluster.device_bytes => Some(1),
            (0, _) | (_, 0) => None,
            (divided, room) => Some(divided.div_ceil(room)),
        };
        let bytes_per_device = kept + devices.map_or(0, |count| divided.div_ceil(count));
        Placement { strategy, devices, tensor: 1, pipeline: 1, bytes_per_device }
    }

    /// The fewest devices among tensor degrees that divide the heads and pipeline degrees up to the bounds.
    fn grid(&self, strategy: Strategy, tensor_max: usize, pipeline_max: usize) -> Placement {
        let mut best: Option<Placement> = None;
        let mut closest: Option<Placement> = None;
        for tensor in (1..=tensor_max).filter(|degree| self.spec.heads.is_multiple_of(*degree)) {
            for pipeline in 1..=pipeline_max {
                let bytes_per_device = self.pipeline_bytes(pipeline as u64).div_ceil(tensor as u64);
                let devices = (tensor * pipeline) as u64;
                let fits = bytes_per_device <= self.cluster.device_bytes;
                let placement = Placement {
                    strategy,
                    devices: fits.then_some(devices),
                    tensor: tensor as u64,
                    pipeline: pipeline as u64,
                    bytes_per_device,
                };
                if fits && best.is_none_or(|best| Some(devices) < best.devices) {
                    best = Some(placement);
                }
                if closest.is_none_or(|closest| bytes_per_device < closest.bytes_per_device) {
                    closest = Some(placement);
                }
            }
        }
        best.or(closest).expect("one device is always tried")
    }

    /// The fullest stage of a pipeline: the first keeps most micro-batches, the last holds the head.
    fn pipeline_bytes(&self, stages: u64) -> u64 {
        let layers = (self.spec.layers as u64).div_ceil(stages);
        let per_parameter = self.setup.state.total();
        let [first_table, layer, last_table] = self.places;
        if stages == 1 {
            return self.memory.total(self.cluster.recompute);
        }
        let logits = logits_bytes(self.spec, self.setup);
        let held = |parameters: u64| (per_parameter * parameters as f64) as u64;
        let first = held(first_table + layers * layer) + self.run_activations(layers, stages);
        let last = held(last_table + layers * layer) + self.run_activations(layers, 1) + logits;
        first.max(last)
    }

    /// Activations of a run of layers with some micro-batches in flight.
    fn run_activations(&self, layers: u64, in_flight: u64) -> u64 {
        let whole = layer_activation_bytes(self.spec, self.setup);
        match self.cluster.recompute {
            true => layers * in_flight * layer_input_bytes(self.spec, self.setup) + whole,
            false => layers * in_flight * whole,
        }
    }

    /// ZeRO-3 gathers one layer, or the token table, while it works with it.
    fn gathered_bytes(&self) -> u64 {
        let [first, layer, last] = self.places;
        first.max(layer).max(last) * self.setup.state.weights
    }

    fn activation_bytes(&self) -> u64 {
        let layers = match self.cluster.recompute {
            true => self.memory.activations_recomputed,
            false => self.memory.activations,
        };
        layers + self.memory.logits
    }
}

/// Parameters before the layers, of one layer, and after them; a tied head needs its own copy at the far end.
fn parameters_by_place(spec: &Spec) -> [u64; 3] {
    let parts = Parameters::of(spec);
    let in_layer = |slot: &&Slot| slot.name.starts_with("layers.0.");
    let layer = slots(spec).iter().filter(in_layer).map(|slot| slot.len() as u64).sum();
    let tied = match spec.head {
        Head::None | Head::Vocabulary { tied: false } => 0,
        Head::Vocabulary { tied: true } | Head::MaskedToken => (spec.vocab * spec.width) as u64,
    };
    [parts.embedding, layer, parts.head + tied]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::memory::{Precision, StateBytes};

    const GB: u64 = 1_000_000_000;

    fn setup(length: usize) -> TrainingSetup {
        TrainingSetup { sequences: 1, length, state: StateBytes::MIXED, activations: Precision::Bf16 }
    }

    fn of(placements: &[Placement], strategy: Strategy) -> Placement {
        *placements.iter().find(|placement| placement.strategy == strategy).unwrap()
    }

    #[test]
    fn a_small_model_fits_on_one_device_under_every_strategy() {
        let spec = Spec::gpt2(768, 12, 12, 50_257);
        let cluster = Cluster { device_bytes: 80 * GB, recompute: false };
        for placement in placements(&spec, &setup(1024), &cluster) {
            assert_eq!(placement.devices, Some(1), "{placement:?}");
        }
    }

    #[test]
    fn the_largest_gpt_needs_to_be_cut() {
        let spec = Spec { context: 2048, ..Spec::gpt2(12_288, 96, 96, 50_257) };
        let cluster = Cluster { device_bytes: 80 * GB, recompute: true };
        let placements = placements(&spec, &setup(2048), &cluster);
        // 350 GB of weights alone stand on every device under ZeRO-0 and ZeRO-1.
        assert_eq!(of(&placements, Strategy::DataZero0).devices, None);
        assert_eq!(of(&placements, Strategy::DataZero1).devices, None);
        // 16 bytes × 175 G = 2.8 TB over 80 GB devices: 35 at the very least.
        let sharded = of(&placements, Strategy::DataZero3).devices.unwrap();
        assert!((36..64).contains(&sharded), "{sharded}");
        let grid = of(&placements, Strategy::TensorPipeline);
        assert!((36..64).contains(&grid.devices.unwrap()), "{grid:?}");
        assert_eq!(grid.tensor * grid.pipeline, grid.devices.unwrap());
    }

    #[test]
    fn every_answer_fits_and_one_device_fewer_does_not() {
        let spec = Spec::gpt2(2560, 32, 32, 50_257);
        let cluster = Cluster { device_bytes: 24 * GB, recompute: true };
        for placement in placements(&spec, &setup(2048), &cluster) {
            match placement.devices {
                Some(_) => assert!(placement.bytes_per_device <= cluster.device_bytes, "{placement:?}"),
                None => assert!(placement.bytes_per_device > cluster.device_bytes, "{placement:?}"),
            }
        }
        let memory = TrainingMemory::of(&spec, &setup(2048));
        let count = of(&placements(&spec, &setup(2048), &cluster), Strategy::DataZero1).devices.unwrap();
        let at = |count: u64| {
            let kept = memory.weights + memory.gradients + memory.activations_recomputed + memory.logits;
            kept + memory.optimizer / count
        };
        assert!(at(count) <= cluster.device_bytes && (count == 1 || at(count - 1) > cluster.device_bytes));
    }
}

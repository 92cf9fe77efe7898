//! The rule: a decoding step of the model asks the system for no memory.

mod support;

use std::sync::Arc;

use luban_engine::CacheFormat;
use luban_engine::serving::{ServingExecutor, ServingModel};
use luban_kernels::pool::Pool;
use luban_model::{Batch, forward};
use support::{decoders, f32_model, i8_model, tokens};

/// Steps of two sequences, a token of each at a time.
struct Steps {
    model: Arc<ServingModel>,
    executor: ServingExecutor,
    batch: Batch,
    sequences: [Vec<u32>; 2],
}

impl Steps {
    fn run(&mut self, position: usize) {
        self.batch.clear();
        for sequence in &self.sequences {
            self.batch.push(&sequence[position..=position], position);
        }
        self.executor.place([[0, 1, 2].as_slice(), [3, 4, 5].as_slice()]);
        let hidden = forward(self.model.spec(), self.model.weights(), &mut self.executor, &self.batch).unwrap();
        let logits = self.executor.logits(&hidden, &[0, 1]).unwrap();
        assert!(logits.values().iter().all(|logit| logit.is_finite()));
    }
}

#[test]
fn a_decoding_step_allocates_nothing() {
    // Allocations are counted on one thread, which does everything here.
    Pool::new(1).install(|| {
        for spec in decoders() {
            for (model, kind) in [(f32_model(&spec), "f32"), (i8_model(&spec), "int8")] {
                let model = Arc::new(model);
                for cache in [CacheFormat::F32, CacheFormat::Bf16, CacheFormat::Int8] {
                    let executor = ServingExecutor::with_cache(Arc::clone(&model), cache, 6);
                    let sequences = [1, 2].map(|seed| tokens(seed, 150, spec.vocab));
                    let mut steps = Steps { model: Arc::clone(&model), executor, batch: Batch::new(), sequences };
                    // What the first ones ask for goes round.
                    (0..70).for_each(|position| steps.run(position));
                    let counted = allocation_counter::measure(|| (70..150).for_each(|position| steps.run(position)));
                    let what = format!("{} layers of {}, weights in {kind}, {cache}", spec.layers, spec.width);
                    assert_eq!(counted.count_total, 0, "{what}: {counted:?} in 80 steps");
                }
            }
        }
    });
}

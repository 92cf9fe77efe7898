//! The planned memory of a step against what its buffers take.

use luban_model::Spec;
use luban_model::lora::{Lora, Target};
use luban_model::spec::Head;
use luban_model::training::TrainableModel;
use luban_tensor::{Precision, storage};
use luban_train::choose::random_examples;
use luban_train::memory::Step;
use luban_train::optimizer::{AdamWSettings, Optimizer};
use luban_train::step::{StepInput, train_step};

/// Model, precision, whether blocks are computed again, sequences at once of 8, and whether only adapters are trained.
type Kind = (Spec, Precision, bool, usize, bool);

/// A step of each kind; each is larger than those before, so that the most that was ever in use is its own.
fn steps() -> Vec<Kind> {
    let llama = |layers| Spec { context: 64, kv_heads: 2, ..Spec::llama(96, layers, 4, 300) };
    let gpt2 = |width| Spec { context: 64, ..Spec::gpt2(width, 3, 4, 2000) };
    let bert = |width| Spec { context: 64, head: Head::MaskedToken, ..Spec::bert(width, 3, 4, 2000) };
    vec![
        (llama(3), Precision::Bf16, true, 8, false),
        (llama(4), Precision::F32, false, 8, false),
        (gpt2(128), Precision::Bf16, false, 8, false),
        (bert(160), Precision::F32, false, 8, false),
        (gpt2(224), Precision::Fp16, false, 2, false),
        (bert(320), Precision::Bf16, true, 8, false),
        (llama(40), Precision::Bf16, false, 8, false),
        (llama(64), Precision::Bf16, false, 8, true),
    ]
}

#[test]
fn a_step_takes_what_was_planned() {
    let mut before = 0;
    for (spec, precision, recompute, at_once, adapters) in steps() {
        let mut model = TrainableModel::init(spec.clone(), 1).unwrap().with_precision(precision);
        model.set_recompute(recompute);
        let lora = adapters.then(|| Lora { rank: 4, alpha: 8.0, targets: Target::ATTENTION.to_vec() });
        if let Some(lora) = &lora {
            model = model.with_lora(lora.clone(), 1);
        }
        let mut optimizer = Optimizer::new(AdamWSettings::default(), &model);
        let examples = random_examples(&spec, 8, spec.context);
        let input = StepInput { examples: &examples, at_once, learning_rate: 1e-4, dropout: None };
        for _ in 0..2 {
            train_step(&mut model, &mut optimizer, input).unwrap();
        }
        let (tokens, at_once) = (8 * spec.context, at_once * spec.context);
        let memory = Step { spec: &spec, tokens, at_once, precision, recompute, lora: lora.as_ref() }.memory();
        let planned = (memory.total() - memory.process) as f64;
        let used = storage::usage().in_use_peak;
        let what = format!("{} layers of {} in {precision}", spec.layers, spec.width);
        assert!(used > before, "{what}: {used} bytes are not more than the {before} of the step before");
        let ratio = used as f64 / planned;
        assert!((0.85..1.15).contains(&ratio), "{what}: {used} of {planned} planned: {ratio:.3}");
        before = used;
    }
}

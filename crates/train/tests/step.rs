//! The training step on small models: what it learns, and that its bits depend on nothing but its inputs.

use luban_base::random::Stream;
use luban_kernels::pool::Pool;
use luban_model::Spec;
use luban_model::spec::Head;
use luban_model::training::TrainableModel;
use luban_train::choose::random_examples;
use luban_train::objective::{Causal, Example, Masked, Objective};
use luban_train::optimizer::{AdamWSettings, Optimizer};
use luban_train::step::{StepDropout, StepInput, flops_per_token, gradients, train_step};

const VOCAB: usize = 97;

fn decoder() -> Spec {
    Spec { context: 32, ..Spec::llama(64, 2, 4, VOCAB) }
}

fn encoder() -> Spec {
    Spec { context: 32, head: Head::MaskedToken, ..Spec::bert(64, 2, 4, VOCAB) }
}

fn weights(model: &TrainableModel) -> Vec<u32> {
    model.parameters().flat_map(|parameter| parameter.value.iter().map(|value| value.to_bits())).collect()
}

/// Trains for some steps on changing random batches; gives the weights' bits.
fn trained(spec: &Spec, steps: u64, at_once: usize, probability: f64) -> Vec<u32> {
    let mut model = TrainableModel::init(spec.clone(), 3).unwrap();
    let mut optimizer = Optimizer::new(AdamWSettings::default(), &model);
    let all = random_examples(spec, 6 * steps as usize, spec.context);
    for step in 0..steps {
        let examples = &all[6 * step as usize..][..6];
        let dropout = StepDropout { probability, draws: Stream::new(5, &[]), first_sample: 6 * step };
        let dropout = (probability > 0.0).then_some(dropout);
        let input = StepInput { examples, at_once, learning_rate: 1e-2, dropout };
        assert!(train_step(&mut model, &mut optimizer, input).unwrap().is_finite());
    }
    weights(&model)
}

#[test]
fn a_batch_is_learnt_by_heart() {
    for (spec, bound) in [(decoder(), 0.1), (encoder(), 0.1)] {
        let mut model = TrainableModel::init(spec.clone(), 1).unwrap();
        let mut optimizer = Optimizer::new(AdamWSettings { weight_decay: 0.0, ..Default::default() }, &model);
        let examples = random_examples(&spec, 4, spec.context);
        let input = StepInput { examples: &examples, at_once: 4, learning_rate: 3e-3, dropout: None };
        let first = train_step(&mut model, &mut optimizer, input).unwrap();
        let uniform = (VOCAB as f64).ln();
        assert!((first.loss - uniform).abs() < 0.5, "an untrained model knows nothing: {}", first.loss);
        let last = (0..150).map(|_| train_step(&mut model, &mut optimizer, input).unwrap().loss).last().unwrap();
        assert!(last < bound, "{last}");
    }
}

#[test]
fn parts_of_a_batch_add_up_to_the_whole_to_the_bit() {
    // BERT's head multiplies with the token embedding, as tied decoders do: see below.
    let untied = Spec { head: Head::Vocabulary { tied: false }, ..decoder() };
    let both_sides = Spec { head: Head::Vocabulary { tied: false }, ..encoder() };
    for (spec, dropout) in [(&untied, 0.0), (&both_sides, 0.0), (&untied, 0.3), (&both_sides, 0.3)] {
        let whole = trained(spec, 3, 6, dropout);
        for at_once in [1, 2, 4, 5] {
            assert!(
                trained(spec, 3, at_once, dropout) == whole,
                "{at_once} at once, causal: {}, dropout: {dropout}",
                spec.causal
            );
        }
    }
    assert!(trained(&untied, 3, 6, 0.3) != trained(&untied, 3, 6, 0.0));
}

#[test]
fn parts_with_tied_embeddings_differ_by_rounding_only() {
    // The embedding's gradient has two sources, the look-up and the head: with parts, they come in turns.
    for spec in [decoder(), encoder()] {
        let examples = random_examples(&spec, 6, spec.context);
        let of = |at_once| {
            let mut model = TrainableModel::init(spec.clone(), 3).unwrap();
            gradients(&mut model, &examples, at_once).unwrap();
            let gradients = model.parameters().flat_map(|parameter| parameter.grad.as_ref().unwrap().to_vec());
            gradients.collect::<Vec<f32>>()
        };
        let whole = of(6);
        let largest = whole.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for at_once in [1, 2, 4, 5] {
            let off = whole.iter().zip(of(at_once)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-6 * largest, "{at_once} at once: {off} of {largest}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for (spec, dropout) in [(decoder(), 0.0), (encoder(), 0.2)] {
        let one = Pool::new(1).install(|| trained(&spec, 3, 6, dropout));
        for threads in [2, 3, 5] {
            assert!(Pool::new(threads).install(|| trained(&spec, 3, 6, dropout)) == one, "{threads} threads");
        }
    }
}

#[test]
fn loss_and_gradient_are_means_over_the_targets() {
    let spec = decoder();
    let of = |examples: &[Example]| {
        let mut model = TrainableModel::init(spec.clone(), 1).unwrap();
        let loss = gradients(&mut model, examples, 8).unwrap();
        let gradient: Vec<f32> =
            model.parameters().flat_map(|parameter| parameter.grad.as_ref().unwrap().to_vec()).collect();
        (loss, gradient)
    };
    let short = Causal.example(&[1, 2, 3], Stream::new(0, &[]));
    let long = Causal.example(&(10..30).collect::<Vec<u32>>(), Stream::new(0, &[]));
    let (both, gradient_both) = of(&[short.clone(), long.clone()]);
    let ((first, gradient_first), (second, gradient_second)) = (of(&[short]), of(&[long]));
    let mean = |first: f64, second: f64| (2.0 * first + 19.0 * second) / 21.0;
    assert!((both - mean(first, second)).abs() < 1e-6);
    let parts = gradient_first.iter().zip(&gradient_second).map(|(&a, &b)| mean(f64::from(a), f64::from(b)));
    let off = gradient_both.iter().zip(parts).map(|(&whole, mean)| (f64::from(whole) - mean).abs()).fold(0.0, f64::max);
    assert!(off < 1e-6, "{off}");
}

#[test]
fn what_stands_before_a_cut_has_no_influence_after_it() {
    let spec = decoder();
    let of = |examples: &[Example]| {
        let mut model = TrainableModel::init(spec.clone(), 1).unwrap();
        let loss = gradients(&mut model, examples, 8).unwrap();
        let gradient = model.parameters().flat_map(|parameter| parameter.grad.as_ref().unwrap().to_vec());
        (loss, gradient.collect::<Vec<f32>>())
    };
    let tokens: Vec<u32> = (10..30).collect();
    let example = |part: &[u32]| Causal.example(part, Stream::new(0, &[]));
    let parts = [example(&tokens[..=4]), example(&tokens[4..=11]), example(&tokens[11..])];
    let whole = of(&[example(&tokens)]);
    assert!(of(&[example(&tokens).cut(&[4, 11])]) == of(&parts), "as examples of their own, to the bit");
    assert!(of(&parts) != whole);
}

#[test]
fn a_long_gradient_is_clipped_and_a_broken_one_changes_nothing() {
    let spec = decoder();
    let examples = random_examples(&spec, 2, spec.context);
    let input = StepInput { examples: &examples, at_once: 2, learning_rate: 1e-2, dropout: None };
    let mut model = TrainableModel::init(spec.clone(), 1).unwrap();
    let start = weights(&model);
    // AdamW's first step is the sign of the gradient, whatever its length; its first moment tells the length.
    let clip_norm = 1e-3;
    let mut optimizer = Optimizer::new(AdamWSettings { clip_norm, ..Default::default() }, &model);
    let report = train_step(&mut model, &mut optimizer, input).unwrap();
    assert!(report.gradient_norm > clip_norm);
    let squares = optimizer.memories().iter().flat_map(|memory| memory.parts()[0].values.iter());
    let norm = squares.map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    assert!((norm - 0.1 * clip_norm).abs() < 1e-3 * clip_norm, "{norm}");

    let mut broken = TrainableModel::init(spec, 1).unwrap();
    let mut optimizer = Optimizer::new(AdamWSettings::default(), &broken);
    let tokens = broken.parameters_mut().next().unwrap();
    tokens.value_mut()[64 * examples[0].inputs[0] as usize] = f32::NAN;
    let before = weights(&broken);
    let report = train_step(&mut broken, &mut optimizer, input).unwrap();
    assert!(!report.is_finite() && optimizer.steps() == 0);
    assert!(weights(&broken) == before && before != start);
    assert!(broken.parameters().all(|parameter| parameter.grad.is_none()));
}

#[test]
fn an_example_without_targets_is_no_trouble() {
    let spec = encoder();
    let masked = Masked { mask: 0, vocab: VOCAB };
    // One token is chosen once in seven times: some of these examples have no target.
    let examples: Vec<Example> = (0..8).map(|sample| masked.example(&[5, 6], Stream::new(0, &[sample]))).collect();
    assert!(examples.iter().any(|example| example.targets.is_empty()));
    let mut model = TrainableModel::init(spec, 1).unwrap();
    let mut optimizer = Optimizer::new(AdamWSettings::default(), &model);
    let input = StepInput { examples: &examples, at_once: 1, learning_rate: 1e-3, dropout: None };
    assert!(train_step(&mut model, &mut optimizer, input).unwrap().is_finite());
}

#[test]
fn operations_follow_the_objective() {
    // A head that predicts a share of the rows costs a share.
    let (decoder, encoder) = (decoder(), encoder());
    assert!(flops_per_token(&decoder, 32) > 6.0 * (decoder.parameters() - 5 * 64) as f64);
    assert!(flops_per_token(&encoder, 32) < 6.0 * encoder.parameters() as f64);
}

#[test]
fn dropout_falls_on_the_embedding_and_on_every_branch() {
    // With weights that pass nothing on, the loss sees the embedding's dropout alone, and so for each branch.
    let spec = Spec { head: Head::Vocabulary { tied: false }, ..decoder() };
    let examples = random_examples(&spec, 4, spec.context);
    let loss = |silent: &[&str], first_sample: Option<u64>| {
        let mut model = TrainableModel::init(spec.clone(), 3).unwrap();
        for parameter in model.parameters_mut().filter(|parameter| silent.iter().any(|name| parameter.name == *name)) {
            parameter.value_mut().fill(0.0);
        }
        let draws = Stream::new(5, &[]);
        let dropout = first_sample.map(|first_sample| StepDropout { probability: 0.5, draws, first_sample });
        let input = StepInput { examples: &examples, at_once: 4, learning_rate: 1e-3, dropout };
        let mut optimizer = Optimizer::new(AdamWSettings::default(), &model);
        train_step(&mut model, &mut optimizer, input).unwrap().loss
    };
    let sources = [
        "embedding.tokens",
        "layers.0.out.weight",
        "layers.0.down.weight",
        "layers.1.out.weight",
        "layers.1.down.weight",
    ];
    for source in sources {
        // Blocks add to nothing where the embedding is silent, so it stays in all cases but its own.
        let silent: Vec<&str> = sources.into_iter().filter(|other| *other != source && *other != sources[0]).collect();
        let (without, with, again) = (loss(&silent, None), loss(&silent, Some(0)), loss(&silent, Some(0)));
        assert!(with == again && with != without && with != loss(&silent, Some(4)), "{source}: {without} {with}");
    }
    assert_eq!(loss(&sources, None), loss(&sources, Some(0)), "zeros have nothing to lose");
}

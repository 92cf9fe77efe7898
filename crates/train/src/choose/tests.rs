use super::*;
use crate::step::flops_per_token;

/// A machine of constant speed.
struct Fake {
    flops_per_second: f64,
    asked: usize,
}

impl Speedometer for Fake {
    fn flops_per_second(&mut self, _: &Spec, _: Precision) -> Result<f64> {
        self.asked += 1;
        Ok(self.flops_per_second)
    }

    fn step_seconds(&mut self, plan: &Plan) -> Result<f64> {
        self.asked += 1;
        Ok(flops_per_token(&plan.spec, plan.context) * plan.batch_tokens() as f64 / self.flops_per_second)
    }
}

const DECODER: Task = Task { vocab: 2048, causal: true, corpus_bytes: 25_000_000 };

fn chosen(options: &PretrainOptions, gflops: f64) -> Choice {
    choose(options, DECODER, &mut Fake { flops_per_second: gflops * 1e9, asked: 0 }).unwrap()
}

#[test]
fn three_minutes_on_two_cores_give_two_to_three_million_parameters() {
    let choice = chosen(&PretrainOptions::default(), 111.0);
    let plan = &choice.plan;
    let parameters = plan.spec.parameters();
    assert!((2_000_000..3_000_000).contains(&parameters), "{parameters}");
    let seconds = choice.step_s.unwrap() * plan.schedule.steps as f64;
    assert!((166.0..=180.0 * STEPS_SHARE).contains(&seconds), "{seconds}");
    assert!(choice.notes[0].contains("111 GFLOP/s") && choice.notes[1].contains("4 layers"), "{:?}", choice.notes);
}

#[test]
fn more_time_or_speed_gives_larger_models_and_never_smaller_batches() {
    let sizes: Vec<(usize, usize)> = [0.1, 1.0, 3.0, 20.0, 120.0, 1440.0, 10_000.0]
        .map(|minutes| chosen(&PretrainOptions { minutes, ..Default::default() }, 150.0).plan)
        .map(|plan| (plan.spec.parameters(), plan.batch_tokens()))
        .to_vec();
    assert!(sizes.is_sorted_by(|before, after| before.0 <= after.0 && before.1 <= after.1), "{sizes:?}");
    assert!(sizes[3].0 > 2 * sizes[2].0, "{sizes:?}");
}

#[test]
fn what_is_given_is_kept_and_nothing_is_measured_for_it() {
    let options = PretrainOptions {
        steps: Some(7),
        width: Some(32),
        layers: Some(2),
        heads: Some(2),
        context: Some(16),
        batch: Some(64),
        learning_rate: Some(0.5),
        warmup: Some(3),
        weight_decay: Some(0.25),
        seed: 9,
        ..Default::default()
    };
    let mut machine = Fake { flops_per_second: 1e9, asked: 0 };
    let plan = choose(&options, DECODER, &mut machine).unwrap().plan;
    assert_eq!(machine.asked, 0);
    assert_eq!((plan.spec.width, plan.spec.layers, plan.spec.heads, plan.spec.head_width), (32, 2, 2, 16));
    assert_eq!((plan.context, plan.sequences, plan.spec.context, plan.seed), (16, 4, 16, 9));
    assert_eq!((plan.schedule.steps, plan.schedule.warmup_steps, plan.schedule.peak), (7, 3, 0.5));
    assert_eq!(plan.optimizer.weight_decay, 0.25);
}

#[test]
fn a_run_that_cannot_read_all_reads_of_every_document() {
    assert_eq!(strata(1_250_000.0, 25_000_000), 7);
    assert_eq!((strata(8_333_333.0, 25_000_000), strata(8_333_334.0, 25_000_000)), (2, 1));
    assert_eq!((strata(1.0, u64::MAX), strata(1e19, 1), strata(0.0, 0)), (STRATA_MAX, 1, 1));
    let short = chosen(&PretrainOptions { steps: Some(100), ..Default::default() }, 111.0);
    assert!(short.plan.strata > 20 && short.plan.shuffle_sequences < SHUFFLE_SEQUENCES, "{:?}", short.plan);
    assert!(short.notes.iter().any(|note| note.contains("of each document")), "{:?}", short.notes);
    let long = chosen(&PretrainOptions { minutes: 600.0, ..Default::default() }, 111.0).plan;
    assert_eq!((long.strata, long.shuffle_sequences), (1, SHUFFLE_SEQUENCES));
}

#[test]
fn half_a_shape_is_completed() {
    let wide = chosen(&PretrainOptions { width: Some(256), ..Default::default() }, 111.0).plan;
    assert_eq!((wide.spec.width, wide.spec.layers), (256, 2));
    let deep = chosen(&PretrainOptions { layers: Some(8), ..Default::default() }, 111.0).plan;
    assert_eq!((deep.spec.width, deep.spec.layers), (128, 8));
}

#[test]
fn impossible_shapes_are_named() {
    let fails = |options: PretrainOptions| {
        let mut machine = Fake { flops_per_second: 1e11, asked: 0 };
        choose(&options, DECODER, &mut machine).unwrap_err().to_string()
    };
    let heads = fails(PretrainOptions { width: Some(64), layers: Some(2), heads: Some(3), ..Default::default() });
    assert!(heads.contains("heads is 3") && heads.contains("64"), "{heads}");
    let batch = fails(PretrainOptions { batch: Some(1000), ..Default::default() });
    assert!(batch.contains("batch is 1000") && batch.contains("256"), "{batch}");
}

#[test]
fn every_rung_is_larger_than_the_one_before() {
    let parameters = |&(width, layers): &(usize, usize)| {
        spec(&PretrainOptions::default(), DECODER, width, layers).unwrap().parameters()
    };
    assert!(LADDER.iter().map(parameters).is_sorted_by(|before, after| before < after));
}

#[test]
fn an_objective_that_looks_both_ways_gets_an_encoder() {
    let mut machine = Fake { flops_per_second: 1e11, asked: 0 };
    let plan = choose(&PretrainOptions::default(), Task { causal: false, ..DECODER }, &mut machine).unwrap().plan;
    assert_eq!((plan.spec.causal, plan.spec.head), (false, Head::MaskedToken));
}

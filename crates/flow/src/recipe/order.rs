//! Which stage runs first: references checked and followed.

use super::Planned;
use crate::nearest::hint;
use crate::{Error, Result};

/// What a stage needs of another.
struct Need {
    role: &'static str,
    name: String,
}

/// Sorts stages so that each comes after those it refers to, otherwise as they stand in the file; services last.
///
/// # Errors
/// Names a reference to an unknown stage or to one that makes something else, a missing input, or a circle.
pub(super) fn ordered(file: &str, mut stages: Vec<Planned>) -> Result<Vec<Planned>> {
    let needs = stages.iter_mut().map(needs).collect::<Vec<_>>();
    let fault = |line, what| Error::Recipe { file: file.to_owned(), line: Some(line), what };
    for (index, needs) in needs.iter().enumerate() {
        check(&mut stages, index, needs).map_err(|what| fault(stages[index].line, what))?;
    }
    let positions = needs
        .iter()
        .map(|needs| needs.iter().filter_map(|need| position(&stages, &need.name)).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    // Services block, so they wait for everything else.
    let mut waiting = (0..stages.len()).collect::<Vec<_>>();
    waiting.sort_by_key(|index| stages[*index].entry.makes.is_none());
    let mut done = vec![false; stages.len()];
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|index| positions[*index].iter().all(|need| done[*need]));
        let Some(ready) = ready else {
            let (line, circle) = circle(&stages, &positions, &done, waiting[0]);
            return Err(fault(line, format!("the stages {circle} need each other in a circle")));
        };
        let index = waiting.remove(ready);
        done[index] = true;
        order.push(index);
    }
    let mut slots = stages.into_iter().map(Some).collect::<Vec<_>>();
    Ok(order.into_iter().filter_map(|index| slots[index].take()).collect())
}

fn needs(planned: &mut Planned) -> Vec<Need> {
    let reference =
        |input: crate::Input<'_>| input.place.reference().map(|name| Need { role: input.role, name: name.to_owned() });
    planned.stage.inputs().into_iter().filter_map(reference).collect()
}

fn check(stages: &mut [Planned], index: usize, needs: &[Need]) -> Result<(), String> {
    let name = stages[index].name.clone();
    for need in needs {
        let Some(other) = position(stages, &need.name) else {
            let hint = hint(&need.name, stages.iter().map(|stage| stage.name.as_str()));
            return Err(format!(
                "'{}' of stage '{name}' refers to '@{}', which is no stage{hint}",
                need.role, need.name
            ));
        };
        let makes = stages[other].entry.makes;
        let inputs = stages[index].stage.inputs();
        let input = inputs.iter().find(|input| input.role == need.role);
        if input.is_some_and(|input| !makes.is_some_and(|kind| input.kinds.contains(&kind))) {
            let stage = stages[other].entry.name;
            return Err(format!(
                "'{}' of stage '{name}' refers to '@{}', but {stage} does not make a {}",
                need.role, need.name, need.role
            ));
        }
    }
    for input in stages[index].stage.inputs() {
        if input.place.is_empty() && !input.optional {
            return Err(format!("stage '{name}' needs the key '{}'", input.role));
        }
    }
    Ok(())
}

fn position(stages: &[Planned], name: &str) -> Option<usize> {
    stages.iter().position(|stage| stage.name == name)
}

/// Follows needs from a stage that cannot run until one comes back: its line, and the circle in words.
fn circle(stages: &[Planned], positions: &[Vec<usize>], done: &[bool], start: usize) -> (usize, String) {
    let mut path = vec![start];
    // Every stage that cannot run needs another that cannot, so the walk closes within as many steps as stages.
    while let Some(next) = path.last().and_then(|here| positions[*here].iter().find(|need| !done[**need])) {
        if let Some(first) = path.iter().position(|seen| seen == next) {
            path.drain(..first);
            break;
        }
        path.push(*next);
    }
    let names = path.iter().chain(path.first()).map(|index| format!("'{}'", stages[*index].name)).collect::<Vec<_>>();
    (stages[path[0]].line, names.join(" → "))
}

//! The shape of the source: what a reviewer would otherwise have to look for in every change.

mod graph;
mod lengths;
mod marks;
mod source;
mod unsafety;

/// Prints every breach; an error if there is any.
pub fn run() -> Result<(), String> {
    let problems = problems()?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("{}\ntidy found {} of these", problems.join("\n"), problems.len()))
}

fn problems() -> Result<Vec<String>, String> {
    let files = source::files()?;
    let mut problems = graph::problems()?;
    for file in &files {
        problems.extend(marks::problems(file));
        if file.is_rust() {
            problems.extend(lengths::problems(file));
            problems.extend(unsafety::problems(file));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let problems = super::problems().expect("the sources can be read");
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}

//! The blocks against a plain account of who holds what.

use luban_base::random::Stream;

use super::*;

fn space(tenant: &str) -> Arc<Space> {
    Arc::new(Space { tenant: tenant.into(), adapter: None })
}

/// A sequence of whole blocks, of `letters` one each.
fn tokens(letters: &[u32]) -> Vec<u32> {
    letters.iter().flat_map(|&letter| (0..BLOCK_TOKENS as u32).map(move |i| letter * 1000 + i)).collect()
}

/// Takes blocks for a sequence, writes and remembers them.
fn write(blocks: &mut Blocks, space: &Arc<Space>, tokens: &[u32]) -> Vec<u32> {
    let mut held = blocks.find(space, tokens);
    let known = held.len();
    assert!(blocks.make_room(&mut held, known * BLOCK_TOKENS..tokens.len(), &mut Vec::new()));
    for index in known..held.len() {
        let previous = index.checked_sub(1).map(|index| held[index]);
        let content = &tokens[index * BLOCK_TOKENS..][..BLOCK_TOKENS];
        held[index] = blocks.remember(space, previous, content, held[index]).unwrap();
    }
    held
}

#[test]
fn blocks_are_handed_out_once_and_come_back() {
    let mut blocks = Blocks::new(4);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    assert!(blocks.make_room(&mut first, 0..BLOCK_TOKENS + 1, &mut Vec::new()));
    assert!(blocks.make_room(&mut second, 0..2 * BLOCK_TOKENS, &mut Vec::new()));
    let mut all = [first.clone(), second.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert!(!blocks.make_room(&mut first, 0..3 * BLOCK_TOKENS, &mut Vec::new()));
    assert!(blocks.make_room(&mut first, 0..2 * BLOCK_TOKENS, &mut Vec::new()), "nothing more is needed");
    blocks.release_all(&mut first);
    assert_eq!(blocks.free(), 2);
    blocks.release_all(&mut second);
    assert_eq!(blocks.free(), 4);
}

#[test]
fn a_beginning_is_found_again_by_the_same_tenant_only() {
    let mut blocks = Blocks::new(8);
    let mut held = write(&mut blocks, &space("a"), &tokens(&[1, 2, 3]));
    // While it is held, and after.
    for _ in 0..2 {
        let mut found = blocks.find(&space("a"), &tokens(&[1, 2, 4]));
        assert_eq!(found.len(), 2);
        blocks.release_all(&mut found);
        assert_eq!(blocks.find(&space("b"), &tokens(&[1, 2, 4])), [0u32; 0]);
        assert_eq!(blocks.find(&space("a"), &tokens(&[2, 3])), [0u32; 0], "the place in the sequence counts");
        assert_eq!(blocks.find(&space("a"), &tokens(&[1])[1..]), [0u32; 0]);
        let other = Space { tenant: "a".into(), adapter: Some(1) };
        assert_eq!(blocks.find(&Arc::new(other), &tokens(&[1])), [0u32; 0]);
        blocks.release_all(&mut held);
    }
    assert_eq!((blocks.free(), blocks.remembered()), (8, 3));
}

#[test]
fn the_longest_unused_is_given_away_first_and_its_end_before_its_beginning() {
    let mut blocks = Blocks::new(4);
    let mut first = write(&mut blocks, &space("a"), &tokens(&[1, 2]));
    let mut second = write(&mut blocks, &space("a"), &tokens(&[3, 4]));
    blocks.release_all(&mut first);
    blocks.release_all(&mut second);
    let found = |blocks: &mut Blocks, letters: &[u32]| {
        let mut found = blocks.find(&space("a"), &tokens(letters));
        let count = found.len();
        blocks.release_all(&mut found);
        count
    };
    let mut third = write(&mut blocks, &space("a"), &tokens(&[5]));
    assert_eq!([found(&mut blocks, &[3, 4]), found(&mut blocks, &[1, 2])], [2, 1]);
    blocks.release_all(&mut third);
    // Now the blocks of 3 and 4 were not used for the longest time, then that of 1.
    let mut fourth = write(&mut blocks, &space("a"), &tokens(&[6, 7]));
    assert_eq!([found(&mut blocks, &[5]), found(&mut blocks, &[3, 4]), found(&mut blocks, &[1])], [1, 0, 1]);
    blocks.release_all(&mut fourth);
}

#[test]
fn what_is_shared_is_copied_before_it_is_written() {
    let mut blocks = Blocks::new(4);
    let mut first = write(&mut blocks, &space("a"), &tokens(&[1, 2]));
    let mut second = blocks.find(&space("a"), &tokens(&[1, 2]));
    assert_eq!(first, second);
    let mut copies = Vec::new();
    assert!(blocks.make_room(&mut second, 2 * BLOCK_TOKENS - 1..2 * BLOCK_TOKENS, &mut copies));
    assert_eq!(copies, [(first[1], second[1])]);
    assert_eq!(second[0], first[0]);
    assert_ne!(second[1], first[1]);
    blocks.release_all(&mut first);
    // The original can still be found.
    assert_eq!(blocks.find(&space("a"), &tokens(&[1, 2])).len(), 2);
}

#[test]
fn a_full_cache_writes_in_place_what_no_other_holds() {
    let mut blocks = Blocks::new(2);
    let mut held = write(&mut blocks, &space("a"), &tokens(&[1, 2]));
    let before = held.clone();
    let mut copies = Vec::new();
    assert!(blocks.make_room(&mut held, 127..128, &mut copies));
    assert_eq!((held, copies, blocks.remembered()), (before, vec![], 1));
}

#[test]
fn sequences_that_wrote_the_same_end_up_with_one_block() {
    let mut blocks = Blocks::new(4);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for held in [&mut first, &mut second] {
        assert!(blocks.make_room(held, 0..BLOCK_TOKENS, &mut Vec::new()));
    }
    for held in [&mut first, &mut second] {
        held[0] = blocks.remember(&space("a"), None, &tokens(&[1]), held[0]).unwrap();
    }
    assert_eq!((first[0], blocks.free()), (second[0], 3));
}

#[test]
fn what_a_failed_sequence_wrote_is_not_found() {
    let mut blocks = Blocks::new(4);
    let mut good = write(&mut blocks, &space("a"), &tokens(&[1, 2]));
    let mut failed = write(&mut blocks, &space("a"), &tokens(&[1, 3, 4]));
    blocks.discard_all(&mut failed);
    assert_eq!(blocks.find(&space("a"), &tokens(&[1, 3])).len(), 1, "what another holds stays");
    blocks.release(good[0]);
    blocks.release_all(&mut good);
    assert_eq!((blocks.free(), blocks.remembered()), (4, 2));
}

#[test]
fn any_order_of_events_keeps_the_account() {
    for seed in 0..200 {
        let random = Stream::new(seed, &[]);
        let mut blocks = Blocks::new(12);
        let mut live: Vec<(u32, Vec<u32>)> = Vec::new();
        for step in 0..200 {
            let draw = |index: u64, bound: u64| random.below_at(step * 8 + index, bound);
            if draw(0, 2) == 0 && live.len() < 3 {
                let letters: Vec<u32> = (0..1 + draw(1, 4)).map(|i| draw(2 + i, 2) as u32).collect();
                let tenant = draw(6, 2) as u32;
                let held = write(&mut blocks, &space(["a", "b"][tenant as usize]), &tokens(&letters));
                assert!(
                    live.iter().all(|(other, blocks)| *other == tenant || blocks.iter().all(|b| !held.contains(b)))
                );
                live.push((tenant, held));
            } else if !live.is_empty() {
                let mut gone = live.swap_remove(draw(1, live.len() as u64) as usize).1;
                match draw(7, 4) {
                    0 => blocks.discard_all(&mut gone),
                    _ => blocks.release_all(&mut gone),
                }
            }
            let mut held: Vec<u32> = live.iter().flat_map(|(_, blocks)| blocks.iter().copied()).collect();
            held.sort_unstable();
            held.dedup();
            assert_eq!(blocks.free(), 12 - held.len(), "seed {seed}, step {step}");
        }
    }
}

//! Which of the waiting requests goes next.
//!
//! The more urgent class goes first, but for one admission in eight, which goes to the least urgent one that waits, so
//! that nobody waits for ever. Within a class the tenants take turns by tokens (deficit round robin, Shreedhar and
//! Varghese 1995): one goes on while it has credit, and pays in advance for all tokens that its request may take. What
//! was not used is given back. A tenant's own requests keep their order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::answer::Reply;
use crate::request::{Priority, Request};
use crate::sampling::Chooser;

/// Tokens of credit that every waiting tenant is given when none has any left.
const QUANTUM: i64 = 256;
/// Every so many admissions, one goes to the least urgent class.
const AGEING: u64 = 8;

/// A request on its way to the engine.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) request: Request,
    pub(crate) chooser: Chooser,
    pub(crate) reply: Reply,
    /// More answers to the same prompt, which is read for all of them at once.
    pub(crate) siblings: Vec<Submission>,
    /// How urgent it is by now.
    pub(crate) rank: Priority,
}

/// Requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    tenants: Vec<Tenant>,
    /// Whose turn it is.
    turn: usize,
    /// Answers that are waited for.
    len: usize,
    admitted: u64,
}

/// One with requests that wait or that are worked on.
#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    /// By class, the least urgent first.
    lines: [VecDeque<Submission>; Priority::ALL.len()],
    /// Tokens that it may use before the next one's turn; what it owes where negative.
    credit: i64,
    /// Its requests that are worked on.
    live: usize,
}

impl Submission {
    pub(crate) fn new(request: Request, reply: Reply) -> Self {
        let chooser = Chooser::new(&request, [].into(), None);
        Self { rank: request.priority, request, chooser, reply, siblings: Vec::new() }
    }

    /// Whether both prompts can be read as one.
    pub(crate) fn is_sibling_of(&self, other: &Self) -> bool {
        let (own, other) = (&self.request, &other.request);
        // Logits of a prompt's tokens are for one answer.
        let plain = !own.prompt_logprobs && !other.prompt_logprobs;
        let alike = own.adapter == other.adapter && own.tenant == other.tenant && own.priority == other.priority;
        plain && alike && own.prompt == other.prompt
    }

    /// Answers that it asks for.
    fn answers(&self) -> usize {
        1 + self.siblings.len()
    }

    /// Tokens that each of its answers may take.
    fn cost(&self) -> i64 {
        let tokens = self.request.prompt.len() + self.siblings.iter().map(|s| s.request.max_tokens).sum::<usize>();
        (tokens + self.request.max_tokens) as i64
    }

    /// Drops the answers that nobody waits for any more; false if none is left.
    pub(crate) fn prune(&mut self) -> bool {
        self.siblings.retain(|sibling| !sibling.reply.is_abandoned());
        if !self.reply.is_abandoned() {
            return true;
        }
        match self.siblings.pop() {
            Some(Submission { request, chooser, reply, .. }) => {
                (self.request, self.chooser, self.reply) = (request, chooser, reply);
                true
            }
            None => false,
        }
    }
}

impl Queue {
    /// Answers that are waited for.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Those of one tenant.
    pub(crate) fn len_of(&self, name: &str) -> usize {
        let lines = self.tenants.iter().filter(|tenant| &*tenant.name == name).flat_map(|tenant| &tenant.lines);
        lines.flatten().map(Submission::answers).sum()
    }

    /// Puts a request behind those of its tenant and class.
    pub(crate) fn push(&mut self, submission: Submission) {
        self.len += submission.answers();
        let class = submission.request.priority as usize;
        let name = &submission.request.tenant;
        let known = self.tenants.iter().position(|tenant| tenant.name == *name);
        let index = known.unwrap_or_else(|| {
            let name = Arc::clone(name);
            self.tenants.push(Tenant { name, lines: Default::default(), credit: 0, live: 0 });
            self.tenants.len() - 1
        });
        self.tenants[index].lines[class].push_back(submission);
    }

    /// Forgets the answers that nobody waits for any more, and says how many they were.
    pub(crate) fn prune(&mut self) -> usize {
        let before = self.len;
        self.len = 0;
        for line in self.tenants.iter_mut().flat_map(|tenant| &mut tenant.lines) {
            line.retain_mut(Submission::prune);
            self.len += line.iter().map(Submission::answers).sum::<usize>();
        }
        self.forget_idle();
        before - self.len
    }

    /// The request that goes next. Its tenant pays for it.
    pub(crate) fn admit(&mut self) -> Option<Submission> {
        let (rank, class, index) = self.next()?;
        let tenant = &mut self.tenants[index];
        let mut submission = tenant.lines[class].pop_front()?;
        submission.rank = rank;
        tenant.credit -= submission.cost();
        tenant.live += submission.answers();
        self.len -= submission.answers();
        self.admitted += 1;
        Some(submission)
    }

    /// How urgent the request is that goes next.
    pub(crate) fn next_rank(&mut self) -> Option<Priority> {
        self.next().map(|(rank, ..)| rank)
    }

    /// A request is done with, of whose tokens so many were not used.
    pub(crate) fn settle(&mut self, name: &str, unused: usize) {
        if let Some(tenant) = self.tenants.iter_mut().find(|tenant| &*tenant.name == name) {
            tenant.credit += unused as i64;
            tenant.live -= 1;
        }
        self.forget_idle();
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<Submission> {
        self.len = 0;
        self.tenants.drain(..).flat_map(|tenant| tenant.lines.into_iter().flatten()).collect()
    }

    /// The rank, the class and the tenant of the request that goes next; asked again, the same. One that goes before
    /// the more urgent is as urgent as they.
    fn next(&mut self) -> Option<(Priority, usize, usize)> {
        let waits = |class: &usize| self.tenants.iter().any(|tenant| !tenant.lines[*class].is_empty());
        let most = (0..Priority::ALL.len()).rev().find(waits)?;
        let least = (0..Priority::ALL.len()).find(waits)?;
        let class = if self.admitted % AGEING == AGEING - 1 { least } else { most };
        let waiting = |tenant: &&mut Tenant| !tenant.lines[class].is_empty();
        let richest = self.tenants.iter_mut().filter(waiting).map(|tenant| tenant.credit).max()?;
        if richest <= 0 {
            // As many rounds as it takes for one of them to have credit.
            let given = QUANTUM * ((-richest).div_euclid(QUANTUM) + 1);
            self.tenants.iter_mut().filter(waiting).for_each(|tenant| tenant.credit += given);
        }
        let count = self.tenants.len();
        let ready = |index: &usize| {
            let tenant = &self.tenants[*index];
            !tenant.lines[class].is_empty() && tenant.credit > 0
        };
        self.turn = (self.turn..self.turn + count).map(|index| index % count).find(ready)?;
        Some((Priority::ALL[most], class, self.turn))
    }

    /// Whoever has nothing here owes nothing and has nothing to his credit.
    fn forget_idle(&mut self) {
        let mut index = self.tenants.len();
        while index > 0 {
            index -= 1;
            let tenant = &self.tenants[index];
            if tenant.live == 0 && tenant.lines.iter().all(VecDeque::is_empty) {
                self.tenants.remove(index);
                self.turn -= usize::from(index < self.turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, channel};

    fn submission(tenant: &str, priority: Priority, prompt: usize) -> (Submission, Answer) {
        let (reply, answer) = channel();
        let request = Request { tenant: tenant.into(), priority, ..Request::greedy(vec![0; prompt], 100) };
        (Submission::new(request, reply), answer)
    }

    fn push(queue: &mut Queue, tenant: &str, priority: Priority, prompt: usize) -> Answer {
        let (submission, answer) = submission(tenant, priority, prompt);
        queue.push(submission);
        answer
    }

    /// Who goes next, so many times; each answer uses all that it may.
    fn order(queue: &mut Queue, count: usize) -> Vec<(String, usize)> {
        let mut next = || {
            let submission = queue.admit().unwrap();
            queue.settle(&submission.request.tenant, 0);
            (submission.request.tenant.to_string(), submission.request.prompt.len())
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn one_tenants_requests_keep_their_order() {
        let mut queue = Queue::default();
        let _answers: Vec<Answer> = (1..5).map(|n| push(&mut queue, "a", Priority::Normal, n)).collect();
        assert_eq!(order(&mut queue, 4).iter().map(|(_, prompt)| *prompt).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(queue.admit().is_none());
        assert!(queue.tenants.is_empty(), "nobody is remembered");
    }

    #[test]
    fn tenants_get_equal_shares_of_tokens_whatever_they_ask_for() {
        let mut queue = Queue::default();
        let mut answers: Vec<Answer> = (0..400).map(|_| push(&mut queue, "many", Priority::Normal, 50)).collect();
        answers.extend((0..40).map(|_| push(&mut queue, "long", Priority::Normal, 1400)));
        answers.extend((0..4).map(|_| push(&mut queue, "few", Priority::Normal, 20)));
        let mut tokens = [0, 0];
        let mut last_of_few = 0;
        for (index, (tenant, prompt)) in order(&mut queue, 200).into_iter().enumerate() {
            match &*tenant {
                "many" => tokens[0] += prompt + 100,
                "long" => tokens[1] += prompt + 100,
                _ => last_of_few = index,
            }
        }
        let ratio = tokens[0] as f64 / tokens[1] as f64;
        assert!((0.8..1.25).contains(&ratio), "{tokens:?}");
        assert!(last_of_few < 12, "those who ask for little do not wait behind the others: {last_of_few}");
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        let mut queue = Queue::default();
        let _answers: Vec<Answer> =
            (0..200).map(|n| push(&mut queue, ["a", "b"][n % 2], Priority::Normal, 400)).collect();
        let mut counts = [0, 0];
        for _ in 0..60 {
            let submission = queue.admit().unwrap();
            let (tenant, is_a) = (submission.request.tenant, submission.request.prompt.len());
            // The prompts of a are found in the cache.
            let unused = if &*tenant == "a" { is_a } else { 0 };
            counts[usize::from(&*tenant == "b")] += 1;
            queue.settle(&tenant, unused);
        }
        assert!(counts[0] > 4 * counts[1], "{counts:?}");
    }

    #[test]
    fn urgent_requests_go_first_and_none_waits_for_ever() {
        let mut queue = Queue::default();
        let mut answers = vec![push(&mut queue, "a", Priority::Batch, 7), push(&mut queue, "a", Priority::Normal, 8)];
        answers.extend((0..20).map(|_| push(&mut queue, "b", Priority::Interactive, 9)));
        assert_eq!(queue.next_rank(), Some(Priority::Interactive));
        let order: Vec<usize> = order(&mut queue, 22).into_iter().map(|(_, prompt)| prompt).collect();
        assert_eq!(order.iter().position(|&prompt| prompt == 7), Some(7));
        assert_eq!(order.iter().position(|&prompt| prompt == 8), Some(15));
    }

    #[test]
    fn answers_that_nobody_waits_for_are_forgotten_one_by_one() {
        let mut queue = Queue::default();
        let (mut group, first) = submission("a", Priority::Normal, 3);
        let (second, second_answer) = submission("a", Priority::Normal, 3);
        let (third, third_answer) = submission("a", Priority::Normal, 3);
        group.siblings.extend([second, third]);
        queue.push(group);
        assert_eq!((queue.len(), queue.len_of("a"), queue.len_of("b")), (3, 3, 0));
        drop(first);
        assert_eq!((queue.prune(), queue.len()), (1, 2));
        drop(third_answer);
        assert_eq!((queue.prune(), queue.len()), (1, 1));
        drop(second_answer);
        assert_eq!((queue.prune(), queue.len()), (1, 0));
    }
}

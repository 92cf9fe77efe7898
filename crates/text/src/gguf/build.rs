//! From the values of a GGUF file to what encodes.

use std::sync::Arc;

use super::{Kind, Special, Vocabulary, pre};
use crate::added::{self, Added};
use crate::bpe::{Merges, NONE, Twice};
use crate::byte_bpe::ByteBpe;
use crate::check::ADDED_BYTES_MAX;
use crate::encoder::{Encoder, Frame, Method};
use crate::hub::ROLES;
use crate::memory::Memories;
use crate::pieces::{Joins, Order, Pieces, SPACE, SpaceBefore, Unknown};
use crate::recognize::byte_tokens;
use crate::table::Table;
use crate::word_piece::{Cleaning, WordPiece};
use crate::{Error, Result, Sentinels};

/// Longest word of BERT's.
const WORD_CHARACTERS_MAX: usize = 100;
/// What goes on with a word in BERT's own files.
pub(crate) const CONTINUES: &str = "##";

/// Tokens that end an answer wherever they are in a vocabulary, if a file does not say so.
const ENDS: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
];

/// What is made of a vocabulary, beside itself.
#[derive(Debug)]
pub(crate) struct Built {
    /// The tokens as Hugging Face's files would spell them.
    pub(crate) names: Arc<Table>,
    /// What stands around a text for the model.
    pub(crate) frame: Frame,
    /// Nothing where the library must encode.
    pub(crate) encoder: Option<Encoder>,
    /// Special tokens, in order.
    pub(crate) special: Vec<u32>,
    pub(crate) eos: Option<u32>,
    /// All tokens that end an answer, in order.
    pub(crate) ends: Vec<u32>,
    /// The bytes of each token, where text is put together by bytes.
    pub(crate) bytes: Option<Table>,
    /// Whether texts begin with a space that is none of theirs.
    pub(crate) space_before: bool,
    /// Tokens with a role that chat templates speak of, by the role's name.
    pub(crate) roles: Vec<(&'static str, String)>,
    /// For filling in the middle.
    pub(crate) sentinels: Option<Sentinels>,
}

/// Makes a tokenizer of a vocabulary that was checked.
pub(crate) fn build(vocabulary: &Vocabulary) -> Result<Built> {
    let names = names(vocabulary);
    if let Some(id) = (0..names.len() as u32).find(|&id| names.find(names.get(id)).is_some_and(|first| first != id)) {
        let token = String::from_utf8_lossy(names.get(id)).into_owned();
        return Err(Error::Vocabulary(format!("token {id}, {token:?}, is there twice")));
    }
    let roles = Roles::of(vocabulary);
    let (special, ends) = (special(vocabulary, &names, &roles), ends(&names, &roles));
    let is_special = |id: u32| special.binary_search(&id).is_ok();
    let method = match vocabulary.model.as_str() {
        "gpt2" => Some(bytes(vocabulary, &names)?),
        "llama" => Some(pieces(vocabulary, &roles)),
        "bert" => Some(words(vocabulary, &names, &roles)?),
        _ => None,
    };
    let space_before = matches!(&method, Some(Method::Pieces(pieces)) if pieces.space_before == SpaceBefore::Always);
    let bytes = method.as_ref().and_then(|method| bytes_of_tokens(vocabulary, method));
    let named = [roles.eos, roles.bos, roles.unknown, vocabulary.special.padding];
    let token = |id: u32| vocabulary.tokens.get(id as usize).cloned();
    let named = ROLES.into_iter().zip(named).filter_map(|(role, id)| Some((role, token(id?)?))).collect();
    let sentinels = sentinels(vocabulary, &names);
    let frame = frame(vocabulary, &roles)?;
    let added = added_tokens(vocabulary, &is_special)?;
    let whole = Some(frame.clone());
    let encoder =
        method.map(|method| Encoder { method, added, composed: false, frame: whole, memories: Memories::default() });
    Ok(Built {
        names: Arc::new(names),
        frame,
        encoder,
        eos: roles.eos,
        special,
        ends,
        bytes,
        space_before,
        roles: named,
        sentinels,
    })
}

/// Tokens with a role, with what a kind of tokenizer takes for them where the file does not say.
pub(super) struct Roles {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    ends: Vec<u32>,
    others: Vec<u32>,
}

impl Roles {
    pub(super) fn of(vocabulary: &Vocabulary) -> Self {
        let known = |id: &u32| (*id as usize) < vocabulary.tokens.len();
        let or = |given: Option<u32>, usual: Option<u32>| given.filter(known).or(usual.filter(known));
        let given = &vocabulary.special;
        let (bos, eos, unknown) = match vocabulary.model.as_str() {
            "llama" => (or(given.bos, Some(1)), or(given.eos, Some(2)), or(given.unknown, Some(0))),
            "bert" => {
                let end = or(given.separator, given.eos);
                (or(given.cls.or(given.bos), Some(101)), or(end, Some(102)), or(given.unknown, Some(100)))
            }
            "t5" => (or(given.bos, None), or(given.eos, Some(1)), or(given.unknown, Some(2))),
            _ => (or(given.bos, None), or(given.eos, None), or(given.unknown, None)),
        };
        let ends = [eos, given.eot, given.eom].into_iter().flatten().filter(known).collect();
        let others =
            [bos, given.padding, given.mask, given.cls, given.separator, given.prefix, given.suffix, given.middle];
        Self { bos, eos, unknown, ends, others: others.into_iter().flatten().filter(known).collect() }
    }
}

/// The tokens as Hugging Face's files spell them: BERT's are told by what goes on with a word, not by what begins one.
fn names(vocabulary: &Vocabulary) -> Table {
    if vocabulary.model != "bert" {
        return Table::new(vocabulary.tokens.iter().map(String::as_bytes));
    }
    let spelled: Vec<String> = vocabulary.tokens.iter().map(|token| bert_name(token)).collect();
    Table::new(spelled.iter().map(String::as_bytes))
}

pub(super) fn bert_name(token: &str) -> String {
    match token.strip_prefix(SPACE) {
        Some(word) => word.to_owned(),
        None if token.starts_with('[') && token.ends_with(']') && token.len() > 2 => token.to_owned(),
        None => format!("{CONTINUES}{token}"),
    }
}

/// Control tokens, and those that act as such whatever the file calls them.
fn special(vocabulary: &Vocabulary, names: &Table, roles: &Roles) -> Vec<u32> {
    let control = |id: &u32| matches!(vocabulary.kind(*id as usize), Kind::Control | Kind::Unknown);
    let mut special: Vec<u32> = (0..vocabulary.tokens.len() as u32).filter(control).collect();
    special.extend(&roles.ends);
    special.extend(ENDS.iter().filter_map(|token| names.find(token.as_bytes())));
    if !vocabulary.kinds.is_empty() {
        special.extend(&roles.others);
    }
    special.sort_unstable();
    special.dedup();
    special
}

fn ends(names: &Table, roles: &Roles) -> Vec<u32> {
    let mut ends = roles.ends.clone();
    ends.extend(ENDS.iter().filter_map(|token| names.find(token.as_bytes())));
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// By the file's own word, or by their names.
fn sentinels(vocabulary: &Vocabulary, names: &Table) -> Option<Sentinels> {
    let Special { prefix, suffix, middle, .. } = vocabulary.special;
    let known = |id: &u32| (*id as usize) < names.len();
    let given = [prefix, middle, suffix].map(|id| id.filter(known));
    if let [Some(prefix), Some(middle), Some(suffix)] = given {
        return Some(Sentinels { prefix, middle, suffix });
    }
    Sentinels::find(|name| names.find(name.as_bytes()))
}

fn added_tokens(vocabulary: &Vocabulary, is_special: &dyn Fn(u32) -> bool) -> Result<Added> {
    let mut found = Vec::new();
    for (id, token) in (0..).zip(&vocabulary.tokens) {
        let special = is_special(id);
        if (special || vocabulary.kind(id as usize) == Kind::UserDefined) && !token.is_empty() {
            found.push((token.clone(), added::Token { id, special, odd: false }));
        }
    }
    let bytes: usize = found.iter().map(|(token, _)| token.len()).sum();
    if bytes > ADDED_BYTES_MAX {
        return Err(Error::Vocabulary(format!("its special tokens have {bytes} bytes; at most {ADDED_BYTES_MAX}")));
    }
    Added::new([found, Vec::new()]).ok_or_else(|| Error::Vocabulary("it has too many special tokens".into()))
}

/// What stands around a text for the model.
fn frame(vocabulary: &Vocabulary, roles: &Roles) -> Result<Frame> {
    let model = vocabulary.model.as_str();
    let by_pre = || vocabulary.pre.as_deref().and_then(pre::named).is_some_and(|pre| pre.add_bos);
    let add_bos = vocabulary.add_bos.unwrap_or(match model {
        "llama" | "bert" => true,
        "gpt2" => by_pre(),
        _ => false,
    });
    // BERT's texts end with a separator, whatever the file says of ends.
    let add_eos = model == "bert" || vocabulary.add_eos.unwrap_or(model == "t5");
    let token = |wanted: bool, id: Option<u32>, what: &str| match (wanted, id) {
        (false, _) => Ok(Vec::new()),
        (true, Some(id)) => Ok(vec![(id, 0)]),
        (true, None) => Err(Error::Vocabulary(format!("texts are to {what} with a token that it does not name"))),
    };
    Ok(Frame { before: token(add_bos, roles.bos, "begin")?, type_id: 0, after: token(add_eos, roles.eos, "end")? })
}

fn bytes(vocabulary: &Vocabulary, names: &Table) -> Result<Method> {
    let name = vocabulary.pre.as_deref().unwrap_or("default");
    let pre::Pre { steps, whole_words, .. } = pre::named(name).ok_or_else(|| {
        Error::Vocabulary(format!("it cuts texts in the way {name:?}, which this program does not know"))
    })?;
    let mut merges = Merges::with_capacity(vocabulary.merges.len());
    let mut merged = Vec::new();
    for (rank, merge) in (0..).zip(&vocabulary.merges) {
        // The first side has at least one character.
        let Some(at) = merge.bytes().skip(1).position(|byte| byte == b' ') else {
            return Err(Error::Vocabulary(format!(
                "merge {rank} is {merge:?}; expected two tokens with a space between"
            )));
        };
        let (left, right) = (&merge.as_bytes()[..=at], &merge.as_bytes()[at + 2..]);
        merged.clear();
        merged.extend_from_slice(left);
        merged.extend_from_slice(right);
        // A merge of what is no token can never be of use to the model.
        if let (Some(left), Some(right), Some(merged)) = (names.find(left), names.find(right), names.find(&merged)) {
            merges.insert([left, right], rank, merged, Twice::First);
        }
    }
    let byte_ids = ByteBpe::byte_ids(|token| names.find(token.as_bytes()));
    if byte_ids.iter().all(|&id| id == NONE) {
        return Err(Error::Vocabulary("not one of its tokens is a byte of GPT-2's alphabet".into()));
    }
    let whole = whole_words.then(|| Arc::new(Table::new(names.iter())));
    Ok(Method::Bytes(ByteBpe { steps, space_before: false, byte_ids, merges, whole }))
}

fn pieces(vocabulary: &Vocabulary, roles: &Roles) -> Method {
    // Special tokens cannot be put together from text.
    let is_text = |id: usize| matches!(vocabulary.kind(id), Kind::Normal | Kind::UserDefined | Kind::Unused);
    let texts = (0..vocabulary.tokens.len()).map(|id| if is_text(id) { vocabulary.tokens[id].as_bytes() } else { b"" });
    let tokens = Table::new(texts);
    let all = Table::new(vocabulary.tokens.iter().map(String::as_bytes));
    let space_before = match vocabulary.add_space_prefix.unwrap_or(true) {
        true => SpaceBefore::Always,
        false => SpaceBefore::Never,
    };
    Method::Pieces(Pieces {
        joins: Joins::of(tokens.iter()),
        tokens: Arc::new(tokens),
        order: Order::Scores(ranks(&vocabulary.scores, vocabulary.tokens.len())),
        space_before,
        byte_ids: byte_tokens(&all).map(Box::new),
        unknown: Unknown { id: roles.unknown, fused: false },
    })
}

/// The place of each score among all, the best first; equal scores share a place.
fn ranks(scores: &[f32], count: usize) -> Vec<u32> {
    let score = |id: usize| scores.get(id).copied().unwrap_or(0.0);
    let mut ids: Vec<usize> = (0..count).collect();
    ids.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    let mut ranks = vec![0; count];
    let mut rank = 0;
    for (at, &id) in ids.iter().enumerate() {
        rank += u32::from(at > 0 && score(id) != score(ids[at - 1]));
        ranks[id] = rank;
    }
    ranks
}

fn words(vocabulary: &Vocabulary, names: &Table, roles: &Roles) -> Result<Method> {
    let unknown = roles.unknown.ok_or_else(|| Error::Vocabulary("it has no token for unknown words".into()))?;
    let tokens: Vec<&[u8]> = names.iter().collect();
    let (first, later) = WordPiece::tables(tokens.into_iter(), CONTINUES.as_bytes());
    let cleaning = Cleaning {
        controls: true,
        chinese: true,
        accents: vocabulary.strip_accents.or(vocabulary.lowercase).unwrap_or(true),
        lowercase: vocabulary.lowercase.unwrap_or(true),
    };
    let token_bytes_max = first.iter().map(<[u8]>::len).max().unwrap_or(0);
    Ok(Method::Words(WordPiece {
        first,
        later,
        token_bytes_max,
        unknown,
        word_characters_max: WORD_CHARACTERS_MAX,
        cleaning,
    }))
}

/// What each token stands for, where text is nothing but that.
fn bytes_of_tokens(vocabulary: &Vocabulary, method: &Method) -> Option<Table> {
    let of = |id: usize| {
        let token = vocabulary.tokens[id].as_str();
        match (vocabulary.kind(id), method) {
            // Written as they are.
            (Kind::UserDefined | Kind::Control | Kind::Unknown, Method::Bytes(_)) => token.as_bytes().to_vec(),
            (_, Method::Bytes(_)) => crate::alphabet::token_bytes(token),
            (Kind::Byte, _) => byte_of(token).map_or_else(Vec::new, |byte| vec![byte]),
            (Kind::Normal, _) if vocabulary.kinds.is_empty() => {
                byte_of(token).map_or_else(|| token.replace(SPACE, " ").into_bytes(), |byte| vec![byte])
            }
            _ => token.replace(SPACE, " ").into_bytes(),
        }
    };
    let known = matches!(method, Method::Bytes(_) | Method::Pieces(_));
    let spelled: Vec<Vec<u8>> = (0..if known { vocabulary.tokens.len() } else { 0 }).map(of).collect();
    known.then(|| Table::new(spelled.iter().map(Vec::as_slice)))
}

/// The byte that a token is, spelled `<0x0A>`.
fn byte_of(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>').filter(|hex| hex.len() == 2)?;
    u8::from_str_radix(hex, 16).ok()
}

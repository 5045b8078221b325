//! One edit in progress: the program is written token by token after what was read.
//!
//! Where the whole picture is written (`full`, `think`) most codes are the source's own, so the source
//! is the draft: its next codes are read in one pass, which scores every place among them, and each
//! place is then chosen as if it had been reached alone. A draft is kept as far as it is what was
//! chosen; from the first difference on it is forgotten. On the CPU a pass gives each place the bits
//! it has alone, so drafts change no token; elsewhere they may where two codes are as good as equal.
//! Source: Leviathan et al., arXiv 2211.17192. Start at [`Session::write`].

use crate::editor::{CellPreview, EditEvent, EditRequest, Editor, Mode};
use crate::error::ModelError;
use crate::ids::{CodeGrid, CodeId, TokenId};
use crate::lm::{Chunk, KvCache, to_host};
use crate::sample::{Chosen, Rule, judge_code, judge_control, pick_code, pick_control, token_key};
use crate::sequence::{self, Expect, Grammar, Meaning, Slot};
use crate::within::Within;
use burn::tensor::Tensor;
use std::ops::ControlFlow;

/// Codes of the first draft. After one that was right to its end comes one twice as long, after another
/// one as long as it was right.
const FIRST_DRAFT: usize = 4;

/// What of a program is not the model's to choose.
pub(crate) struct Given<'a> {
    /// The first control tokens, in order: a plan.
    pub(crate) planned: std::vec::IntoIter<TokenId>,
    /// The first tokens, as an edit that was stopped chose them.
    pub(crate) decided: &'a [TokenId],
    /// Where codes are not the source's.
    pub(crate) within: Option<Within<'a>>,
}

impl Given<'_> {
    /// The next token, if plan, mask or grammar leave no choice.
    fn only(
        &mut self,
        expect: &Expect,
        source: impl Fn(Slot) -> Option<TokenId>,
    ) -> Option<TokenId> {
        match expect {
            Expect::Control(allowed) => {
                self.planned.next().or_else(|| (allowed.len() == 1).then(|| allowed[0]))
            }
            Expect::Code(slot) => {
                self.within.filter(|within| within.keeps(*slot)).and_then(|_| source(*slot))
            }
            Expect::Nothing => None,
        }
    }
}

/// What is known of the codes that may stand at one place.
#[derive(Default)]
enum Scored {
    /// Asked for and taken.
    #[default]
    Taken,
    /// All their logits.
    Logits(Vec<f32>),
    /// The likeliest alone, as a device found it.
    Likeliest(Chosen),
}

/// One edit in progress: what has been read, and the pointer's keys.
pub(crate) struct Session<'a> {
    editor: &'a Editor,
    source: &'a CodeGrid,
    cache: KvCache,
    /// Keys of picture and sentence in the cache.
    prompt: usize,
    pointer_keys: Tensor<3>,
    /// The source's middle layer, `[1, cells, hidden]`.
    pub(crate) seen: Tensor<3>,
    /// Program tokens in the cache, the last of them a draft's.
    read: Vec<TokenId>,
    /// What is known of the codes that follow the last tokens read, one place each.
    scored: Vec<Scored>,
    /// Codes of the last draft, the last of `read`.
    guessed: usize,
    /// Codes of the next draft, if nothing else ends it.
    draft: usize,
    pub(crate) forwards: usize,
    /// Of the tokens chosen so far.
    pub(crate) log_prob: f64,
}

impl<'a> Session<'a> {
    /// Reads the source picture and the instruction.
    pub(crate) fn open(editor: &'a Editor, source: &'a CodeGrid, words: &[usize]) -> Self {
        let (lm, vocabulary) = (editor.lm(), editor.vocabulary());
        let mut cache = lm.cache();
        let read = lm.forward(&sequence::source_chunk(vocabulary, &[source]), &mut cache, false);
        let pointer_keys = lm.pointer_keys(read.last);
        drop(lm.forward(&sequence::words_chunk(vocabulary, &[words]), &mut cache, false));
        Self {
            editor,
            source,
            prompt: cache.len(),
            cache,
            pointer_keys,
            seen: read.seen,
            read: Vec::new(),
            scored: Vec::new(),
            guessed: 0,
            draft: FIRST_DRAFT,
            forwards: 2,
            log_prob: 0.0,
        }
    }

    /// Writes the program.
    pub(crate) async fn write(
        &mut self,
        request: &EditRequest,
        mut given: Given<'_>,
        behind: [u8; 3],
        on_event: &mut impl AsyncFnMut(&EditEvent) -> ControlFlow<()>,
    ) -> Result<Vec<TokenId>, ModelError> {
        let vocabulary = self.editor.vocabulary();
        let mut grammar = Grammar::new(vocabulary, request.mode);
        let mut program: Vec<TokenId> = Vec::new();
        let mut drawn: Vec<(usize, usize, CodeId)> = Vec::new();
        loop {
            let (place, expect) = (grammar.slot(), grammar.expect());
            if expect == Expect::Nothing {
                return Ok(program);
            }
            let only = given.only(&expect, |slot| self.source_at(slot));
            let decided = given.decided.get(program.len()).copied();
            let chosen = match only {
                Some(token) => Chosen::only(decided.unwrap_or(token)),
                None => self.next(&program, &grammar, request, decided, given.within).await?,
            };
            let token = chosen.token;
            grammar.push(token)?;
            program.push(token);
            let meaning = vocabulary.meaning(token);
            if let (Some(Meaning::Code(code)), Some(row), Some(col)) =
                (meaning, place.row, place.col)
            {
                drawn.push((row, col, code));
            }
            let ends = grammar.slot().row.is_none() || drawn.len() >= vocabulary.grid();
            let finished = if ends { std::mem::take(&mut drawn) } else { Vec::new() };
            let cell = match meaning {
                Some(Meaning::Cell(row, col)) => Some((row, col)),
                _ => place.row.zip(place.col),
            };
            let event = EditEvent {
                index: program.len() - 1,
                id: token,
                source: self.source_at(place),
                log_prob: chosen.log_prob,
                entropy: chosen.entropy,
                margin: chosen.margin,
                forced: only.or(decided).is_some(),
                accepted: self.read.starts_with(&program),
                label: vocabulary.label(token),
                cell,
                previews: self.previews(&finished, behind),
            };
            if on_event(&event).await.is_break() {
                return Err(ModelError::Stopped { tokens: program.len() });
            }
        }
    }

    /// The source's code at a place on the canvas.
    fn source_at(&self, place: Slot) -> Option<TokenId> {
        let (row, col) = place.row.zip(place.col)?;
        let code = self.source.codes.get(self.source.index(row, col))?;
        Some(self.editor.vocabulary().code(*code))
    }

    /// The next token: reads what was written and not yet read, then chooses, unless it is `given`.
    async fn next(
        &mut self,
        program: &[TokenId],
        grammar: &Grammar<'_>,
        request: &EditRequest,
        given: Option<TokenId>,
        within: Option<Within<'_>>,
    ) -> Result<Chosen, ModelError> {
        let (lm, vocabulary) = (self.editor.lm(), self.editor.vocabulary());
        let key = token_key(request.seed, program.len());
        let rule = Rule { temperature: request.temperature, top_k: request.top_k };
        let chosen = if let Expect::Control(allowed) = &grammar.expect() {
            // Before the pass: a GPU hands over what it has to do before it takes new numbers.
            let wanted = lm.selection(allowed);
            let left = lm.left(&[grammar.left()], 1);
            let hidden = self.read(program, &[], request.mode)?; // [1, 1, hidden]
            let width = hidden.dims()[2];
            let flat = hidden.clone().reshape([1, width]);
            let look = lm.look(hidden, self.pointer_keys.clone(), left);
            let logits = lm.control_logits(flat, look);
            let mut logits = lm.read_selected(logits, allowed, wanted).await?;
            if let Some((within, size)) = within.zip(grammar.placing()) {
                within.favour(vocabulary, size, &mut logits);
            }
            match given {
                Some(token) => Some(judge_control(&logits, allowed, token)),
                None => pick_control(&logits, allowed, rule, key),
            }
        } else {
            match (self.score(program, request, given.is_some()).await?, given) {
                (Scored::Taken, _) => None,
                (Scored::Likeliest(chosen), _) => (!chosen.log_prob.is_nan()).then_some(chosen),
                (Scored::Logits(logits), Some(token)) => {
                    Some(judge_code(vocabulary, &logits, token))
                }
                (Scored::Logits(logits), None) => pick_code(vocabulary, &logits, rule, key),
            }
        };
        let chosen = chosen.ok_or(ModelError::NotANumber { index: program.len() })?;
        self.log_prob += chosen.log_prob;
        Ok(chosen)
    }

    /// What is known of the codes that may follow `program`, from the draft if it was right so far;
    /// where the token is `given`, the logits of all.
    async fn score(
        &mut self,
        program: &[TokenId],
        request: &EditRequest,
        given: bool,
    ) -> Result<Scored, ModelError> {
        let ahead = self.read.len().checked_sub(program.len());
        if let Some(ahead) = ahead.filter(|_| self.read.starts_with(program))
            && let Some(at) = self.scored.len().checked_sub(ahead + 1)
        {
            return Ok(std::mem::take(&mut self.scored[at]));
        }
        let guess = self.guess(program, request)?;
        let hidden = self.read(program, &guess, request.mode)?; // [1, 1 + guess, hidden]
        let [_, places, width] = hidden.dims();
        let lm = self.editor.lm();
        let logits = lm.code_logits(hidden.reshape([places, width])); // [places, codes]
        let codes = logits.dims()[1];
        let greedy = request.temperature == 0.0 && !given;
        let best = greedy.then(|| earl_kernels::greedy(&logits)).flatten();
        self.scored = if let Some(best) = best {
            to_host(best).await?.chunks(4).map(|best| self.likeliest(best)).collect()
        } else {
            let logits = to_host(logits).await?;
            logits.chunks(codes).map(|logits| Scored::Logits(logits.to_vec())).collect()
        };
        Ok(std::mem::take(&mut self.scored[0]))
    }

    /// A row of [`earl_kernels::greedy`].
    fn likeliest(&self, best: &[f32]) -> Scored {
        Scored::Likeliest(Chosen {
            token: self.editor.vocabulary().code(CodeId(best[0] as u32)),
            log_prob: f64::from(best[1]),
            entropy: f64::from(best[2]),
            margin: f64::from(best[3]),
        })
    }

    /// The source's codes for the next places of the whole picture, as far as another code follows.
    fn guess(
        &mut self,
        program: &[TokenId],
        request: &EditRequest,
    ) -> Result<Vec<TokenId>, ModelError> {
        if request.mode == Mode::Local {
            return Ok(Vec::new());
        }
        if self.guessed > 0 {
            let right = (self.common(program) + self.guessed).saturating_sub(self.read.len());
            self.draft = if right == self.guessed { 2 * right } else { right.max(1) };
        }
        let mut grammar = self.after(program, request.mode)?;
        let mut guess = Vec::new();
        while guess.len() < self.draft.min(request.ahead) {
            let slot = grammar.slot();
            let Some(token) = self.source_at(slot) else { break };
            grammar.push(token)?;
            if !matches!(grammar.expect(), Expect::Code(_)) {
                break;
            }
            guess.push(token);
        }
        Ok(guess)
    }

    /// How many of the first tokens read are the program's.
    fn common(&self, program: &[TokenId]) -> usize {
        self.read.iter().zip(program).take_while(|(read, token)| read == token).count()
    }

    /// The grammar's state after a program.
    fn after(&self, program: &[TokenId], mode: Mode) -> Result<Grammar<'a>, ModelError> {
        let mut grammar = Grammar::new(self.editor.vocabulary(), mode);
        program.iter().try_for_each(|&token| grammar.push(token))?;
        Ok(grammar)
    }

    /// Reads what of the program was not read yet, and a guess of what follows: hidden states of the
    /// last token of the program and of those guessed, `[1, 1 + guess, hidden]`.
    fn read(
        &mut self,
        program: &[TokenId],
        guess: &[TokenId],
        mode: Mode,
    ) -> Result<Tensor<3>, ModelError> {
        // The program's last token is read again where a draft had it right.
        let known = self.common(program).min(program.len() - 1);
        self.cache.truncate(self.prompt + known);
        let vocabulary = self.editor.vocabulary();
        let first = 1 + self.editor.config().text.max_words;
        let mut grammar = self.after(&program[..known], mode)?;
        let mut chunk = Chunk { batch: 1, ..Chunk::default() };
        for (at, &token) in program.iter().chain(guess).enumerate().skip(known) {
            grammar.push(token)?;
            chunk.ids.push(token);
            chunk.times.push(first + at);
            chunk.slots.push(sequence::layout::input_slot(vocabulary, &grammar, token));
        }
        chunk.seq = chunk.ids.len();
        self.read = [program, guess].concat();
        self.guessed = guess.len();
        self.scored.clear();
        self.forwards += 1;
        let last = self.editor.lm().forward(&chunk, &mut self.cache, true).last;
        Ok(last.slice([0..1, chunk.seq - 1 - guess.len()..chunk.seq]))
    }

    fn previews(&self, cells: &[(usize, usize, CodeId)], behind: [u8; 3]) -> Vec<CellPreview> {
        let layer = |code: CodeId| self.editor.tokenizer().layer(code);
        cells
            .iter()
            .map(|&(row, col, code)| CellPreview { row, col, rgb: layer(code).over(behind) })
            .collect()
    }
}

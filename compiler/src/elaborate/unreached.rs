//! Mistakes in statements that no turn of a loop, call or condition reached.
//!
//! All statements run once more, those of each block once, while no variable, parameter or extent
//! has a value: it could be anything, so that only names, attributes and what is written out are
//! checked. What ran before yields the same mistakes at the same places, which are reported once.

use super::scope::Scopes;
use super::{Elaborator, Place};
use crate::syntax::ast::{Block, File, Name, Parameter, StatementKind};

impl<'a> Elaborator<'a> {
    /// Looks for mistakes in what was not reached. The current value stays what it is.
    pub fn check_unreached(&mut self, file: &'a File) {
        if self.reports.is_full() {
            return;
        }
        let result = self.current;
        self.before = self.work();
        self.hypothetical = true;
        (self.steps, self.stopped, self.reports.mistakes) = (0, false, 0);
        self.scopes = Scopes::new();
        self.visited.clear();
        self.later_params = self.param_spans.iter().rev().copied().collect();
        self.current = Some(self.unknown());
        for statement in &file.statements {
            self.run(statement, Place::Top);
        }
        for statement in &file.statements {
            if let StatementKind::Block { name, parameters, body } = &statement.kind {
                self.check_block(name, parameters, body);
            }
        }
        self.hypothetical = false;
        self.current = result;
    }

    /// Looks for mistakes in a block that nothing calls.
    fn check_block(&mut self, name: &'a Name, parameters: &'a [Parameter], body: &'a Block) {
        let text = name.text.as_str();
        let defined = self.blocks.get(text).is_some_and(|block| std::ptr::eq(block.body, body));
        if defined && !self.visited.insert(text) {
            return;
        }
        self.current = Some(self.unknown());
        self.active.push(text);
        self.run_body(parameters, vec![Some(Err(self.reports.reported())); parameters.len()], body);
        self.active.pop();
    }
}

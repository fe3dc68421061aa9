//! Pieces of HTML.

/// Text as it stands in elements and attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// JSON as it may stand in a script element: nothing in it ends the element or opens a comment.
pub fn script_safe(json: &str) -> String {
    // `<` occurs only within strings of JSON, where it may be written by its number.
    json.replace('<', "\\u003c")
}

/// A column of a table.
pub struct Column {
    /// What it is called, with the unit.
    pub name: String,
    /// What it means, shown when a pointer is over its name.
    pub meaning: &'static str,
    /// Whether it holds numbers.
    pub is_number: bool,
}

impl Column {
    /// A column of words.
    pub fn words(name: &str, meaning: &'static str) -> Self {
        Self { name: name.to_owned(), meaning, is_number: false }
    }

    /// A column of numbers.
    pub fn numbers(name: impl Into<String>, meaning: &'static str) -> Self {
        Self { name: name.into(), meaning, is_number: true }
    }
}

/// A table with its rows in HTML.
pub fn table(id: &str, caption: &str, columns: &[Column], rows: &[String]) -> String {
    let head: String = columns
        .iter()
        .map(|Column { name, meaning, is_number }| {
            let class = if *is_number { " class=\"number\"" } else { "" };
            format!("<th scope=\"col\"{class} title=\"{}\">{}</th>", escape(meaning), escape(name))
        })
        .collect();
    format!(
        "<div class=\"scroll\"><table id=\"{id}\">\n<caption>{}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        escape(caption),
        rows.concat()
    )
}

/// The cells of a row, in HTML.
pub fn cells<'a>(columns: &[Column], texts: impl IntoIterator<Item = &'a str>) -> String {
    let cell = |(column, text): (&Column, &str)| {
        let class = if column.is_number { " class=\"number\"" } else { "" };
        format!("<td{class}>{}</td>", escape(text))
    };
    columns.iter().zip(texts).map(cell).collect()
}

/// A figure with a caption, both in HTML.
pub fn figure(class: &str, svg: &str, caption: &str) -> String {
    format!("<figure class=\"{class}\">\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(escape("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
        let json = script_safe("\"</script><!--\"");
        assert!(!json.contains('<'));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "</script><!--");
    }
}

# SPDX-License-Identifier: Apache-2.0
"""An HTML page as a browser reads it, for the tests of what a report shows."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """What a browser would find: tags, the cells of each table row, the text, and open tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.rows, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, name, columns):
        """The cells of the row of that name in the table of that many columns."""
        return next(row[1:] for row in self.rows if row[0] == name and len(row) == columns)

"""
Tests for `chatfiles.rules.given_names`: names as clients write them.
"""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.given_names import GivenName, given_name

#: Parameters behind ``form-data; name="files"; `` → the name.
NAMES = {
    'filename="a.txt"': "a.txt",
    "filename=a.txt": "a.txt",
    'filename=""': "",
    # .NET's HttpClient, PowerShell and RestSharp
    "filename=\"=?utf-8?B?w4RybXRlLnR4dA==?=\"; filename*=utf-8''%C3%84rmte.txt": "Ärmte.txt",
    "filename=a.txt; filename*=utf-8''a.txt": "a.txt",
    # an encoded word alone (Python's email package, JavaMail)
    'filename="=?utf-8?B?w4RybXRlLnR4dA==?="': "Ärmte.txt",
    'filename="=?UTF-8?q?a=5Fb=20c.md?="': "a_b c.md",
    'filename="=?utf-8?b?w4Q=?= =?utf-8?b?LnR4dA==?="': "Ä.txt",
    'filename="=?iso-8859-1?q?=E9.csv?="': "é.csv",
    # not an encoded word, or not only one
    'filename="=?utf-8?b?x?=.txt"': "=?utf-8?b?x?=.txt",
    'filename="=?nonsense?b?eA==?="': "=?nonsense?b?eA==?=",
    'filename="=?utf-8?q?=FF?="': "=?utf-8?q?=FF?=",
    'filename="=?punycode?q?a-b?="': "=?punycode?q?a-b?=",
    'filename="=?Shift_JIS?b?k/qWew==?="': "日本",
    # requests before 2.x of urllib3, httpx and curl --form with an encoder of its own
    "filename*=UTF-8''%e2%82%ac%20a.txt": "€ a.txt",
    "filename*=utf-8'en'a.txt": "a.txt",
    "FILENAME*=ISO-8859-1''%a3": "£",
    "filename* = utf-8''": "",
    "filename*=utf-8''x%0d%0ay": "x\r\ny",
    "filename*=\"UTF-8''%E6%97%A5.csv\"": "日.csv",
    "filename*=utf8''%E6%97%A5.csv": "日.csv",
    "filename*=utf-8''report(1)'s.pdf": "report(1)'s.pdf",
    "filename=\"x\"; filename*=utf-8''y": "y",
    "filename*=utf-8''y; filename=x": "y",
    # a charset that is not known, and bytes that are not of the charset
    "filename*=windows-1252''x.txt": "x.txt",
    "filename*=utf-8''%ff": "ÿ",
    # malformed: the other name, if there is one
    "filename*=y; filename=x": "x",
    'filename*="x.txt"': "x.txt",
    # a parameter inside a name is none
    "filename=\"a; filename*=utf-8''evil.txt\"": "a; filename*=utf-8''evil.txt",
    'filename="a\\"; filename=b"': 'a"; filename=b',
    # Windows
    'filename="C:\\dir\\a.txt"': "a.txt",
    'filename="%22%0D%0A"': '"\r\n',
    # a backslash as httpx, aiohttp and curl --form-escape write it, and as browsers do
    'filename="a\\\\b\\\\.txt"': "a\\b\\.txt",
    'filename="a\\\\b%22.txt"': 'a\\b".txt',
    'filename="a\\\\\\"b.txt"': 'a\\"b.txt',
    'filename="a\\\\"': "a\\",
    'filename="a\\b.txt"': "a\\b.txt",
    'filename="a\\b\\\\c.txt"': "a\\b\\\\c.txt",
    'filename="\\\\server\\dir\\a.txt"': "a.txt",
    'filename="C:\\\\dir\\\\a.txt"': "a.txt",
}


class GivenNameTests(SynchronousTestCase):
    """The name of a file."""

    def test_names(self) -> None:
        """Each form that clients use gives the name that they mean."""
        for parameters, name in NAMES.items():
            latin = parameters.encode("utf-8").decode("latin-1")
            found = given_name(f'form-data; name="files"; {latin}')
            assert found is not None, parameters
            self.assertEqual(found.name, name, parameters)

    def test_no_file(self) -> None:
        """A part without a name is not a file."""
        for parameters in ("", "; xfilename*=utf-8''x", "; size=3", '; note="filename=x"'):
            self.assertIsNone(given_name(f'form-data; name="files"{parameters}'), parameters)

    def test_written(self) -> None:
        """Only the percent-encoding of browsers is kept in the stored name."""
        found = given_name('form-data; filename="a%22.txt"')
        self.assertEqual(found, GivenName('a".txt', "a%22.txt"))
        found = given_name("form-data; filename*=utf-8''a%22.txt")
        self.assertEqual(found, GivenName('a".txt', 'a".txt'))

    @given(st.text(max_size=30))
    def test_any_name(self, name: str) -> None:
        """``filename*`` carries any name, whatever ``filename`` says."""
        header = f"form-data; name=files; filename=\"x\"; filename*=utf-8''{quote(name, safe='')}"
        self.assertEqual(given_name(header), GivenName(name, name))

    @given(st.text(alphabet=st.characters(max_codepoint=255)))
    def test_any_header(self, header: str) -> None:
        """No header raises."""
        given_name(header)
        given_name("form-data; filename*=" + header)
        given_name(f'form-data; filename="=?{header}?="')

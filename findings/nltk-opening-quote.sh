#!/usr/bin/env bash
# NLTK splits an opening single quote off in 3.10.4 and leaves it on the word in 3.9.2.
#
# SGRAF, RCAR, VSE-infinity and others make their word vocabularies with nltk.word_tokenize, and give no version. Their
# published vocabularies hold words such as 'hello with the quote on. With a newer NLTK the same captions give other
# words, other counts and so another vocabulary; nothing warns, since both versions call the function the same.
#
# Seen on 2026-11-29, on the words alone (no data files are needed):
#   nltk 3.9.2    'hello there'  ->  'hello | there | '
#   nltk 3.10.4   'hello there'  ->  ' | hello | there | '
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

tokens() { # the words of one caption, by that version of NLTK
  python3 -m venv "$folder/$1" >/dev/null
  "$folder/$1/bin/pip" install -q --disable-pip-version-check "nltk==$1" 2>/dev/null
  "$folder/$1/bin/python" -c '
from nltk.tokenize.destructive import NLTKWordTokenizer
print(" | ".join(NLTKWordTokenizer().tokenize("\x27hello there\x27")))'
}

status=0
compare() {
  found=$(tokens "$1")
  echo "nltk $1: $found"
  [ "$found" = "$2" ] || { echo "changed: expected $2" >&2; status=1; }
}
compare 3.9.2 "'hello | there | '"
compare 3.10.4 "' | hello | there | '"
exit $status

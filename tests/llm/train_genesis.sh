#!/usr/bin/env bash
# Makes assets/gloss anew: fetches three Debian packages, unpacks them into WORK, and trains. The same program on the same
# packages gives the same weights on any machine of the same instruction set; see assets/gloss/README.md.
#
#   tests/llm/train_genesis.sh ASSAY WORK OUT
set -euo pipefail
assay=$(realpath "$1") work=$2 out=$(realpath -m "$3")
mkdir -p "$work" && cd "$work"
for package in wordnet-base dict-devil dict-jargon; do
  compgen -G "${package}_*.deb" >/dev/null || apt-get download "$package"
  dpkg-deb -x "$package"_*.deb unpacked
done
gzip -dc unpacked/usr/share/dictd/devil.dict.dz > devil.txt
gzip -dc unpacked/usr/share/dictd/jargon.dict.dz > jargon.txt
exec "$assay" train lm --wordnet unpacked/usr/share/wordnet --text devil.txt --text jargon.txt --steps 2600 --out "$out"

#!/bin/sh
# Makes inter-{regular,semibold}.otf, the text of PNG plots: Inter 4.0 from Debian's fonts-inter, cut down to Latin, Greek and a few signs.
# Usage: assets/make_fonts.sh FOLDER_WITH_INTER_OTF (for example /usr/share/fonts/opentype/inter); needs fonttools 4.60.1.
set -eu
cd "$(dirname "$0")"
for weight in Regular SemiBold; do
    pyftsubset "$1/Inter-$weight.otf" --layout-features='' --no-hinting \
        --unicodes="U+20-7E,U+A0-17F,U+391-3A9,U+3B1-3C9,U+2010-2015,U+2018-201E,U+2022,U+2026,U+2032,U+2070-2079,U+2080-2089,U+2190-2193,U+2212,U+221E,U+2248,U+2264,U+2265,U+2716,U+2713,U+FFFD" \
        --output-file="inter-$(echo $weight | tr A-Z a-z).otf"
done

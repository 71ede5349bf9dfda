# SPDX-License-Identifier: Apache-2.0
# summary: ghostscript drawing generated pages: text, curves, clipping and shading, to a bitmap nobody keeps
# packages: ghostscript
# programs: gs awk
# proof: gs
# ops: 6
# unit: pages
# threads: 1
# kind: batch

# An op is a page.
prepare() {
    awk -v pages="$OPS" 'BEGIN {
        print "%!PS"
        for (p = 1; p <= pages; p++) {
            for (line = 0; line < 60; line++)
                printf "/Times-Roman findfont %d scalefont setfont 40 %d moveto (page %d, line %d: the quick brown fox) show\n", \
                    7 + line % 5, 780 - line * 12, p, line
            for (k = 0; k < 40; k++)
                printf "gsave %d %d translate %d rotate 0 0 moveto 60 20 120 -40 180 %d curveto clip newpath << /ShadingType 2 /ColorSpace /DeviceRGB /Coords [0 0 180 0] /Function << /FunctionType 2 /Domain [0 1] /C0 [1 %.2f 0] /C1 [0 0.4 1] /N 1 >> >> shfill grestore\n", \
                    60 + k * 10, 100 + k * 15, k * 9, k, k / 40
            print "showpage"
        }
    }' >"$DIR/pages.ps"
}

work() {
    exec gs -q -dNOPAUSE -dBATCH -dSAFER -r72 -sDEVICE=ppmraw -sOutputFile=/dev/null "$DIR/pages.ps"
}

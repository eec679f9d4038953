# tests/coverage.awk: tables for people from what llvm-cov exports as lcov. Counts what is built for users: not the tests at
# the end of a file. A function has as many copies as there are types that it is made for; one copy that is reached is enough.

# Reads a source file: its lines, and how many there are before its tests.
function read(path,    line, at) {
    end = at = 0
    while ((getline line < path) > 0) {
        text[++at] = line
        if (line ~ /^mod tests \{/ && text[at - 1] ~ /^#\[cfg\(test\)\]/) { end = at - 2; break }
    }
    close(path)
    if (!end) end = at
}

function percent(part, whole) { return whole ? sprintf("%.1f", 100 * part / whole) : "-" }

/^SF:/ {
    path = substr($0, 4)
    split("", function_at); split("", calls); split("", line_count)
    is_ours = index(path, root) == 1 && path ~ /\/src\// && path !~ /\/(benches|fuzz|target)\//
    name = substr(path, length(root) + 1)
}
!is_ours { next }
/^FN:/ { split(substr($0, 4), part, ","); function_at[part[2]] = part[1] }
/^FNDA:/ { at = index($0, ","); calls[substr($0, at + 1)] = substr($0, 6, at - 6) }
/^DA:/ { split(substr($0, 4), part, ","); line_count[part[1]] += part[2] }
/^end_of_record/ {
    read(path)
    split("", reached)
    for (symbol in function_at) reached[function_at[symbol]] += calls[symbol]
    room = name; sub(/\/.*/, "", room)
    for (at in reached) {
        # Not closures: they are lines of their function.
        if (at + 0 > end || text[at] !~ /(^|[ (])fn /) continue
        functions[room]++
        if (reached[at]) functions_reached[room]++
        else unreached[name ":" sprintf("%04d", at)] = text[at]
    }
    for (at in line_count) {
        if (at + 0 > end) continue
        lines[room]++; lines_of[name]++
        if (line_count[at]) lines_reached[room]++
        else missed[name]++
    }
}
END {
    print "\n| room | functions | reached | lines | reached |\n|---|---|---|---|---|"
    split("protocol worker acceptor src total", order, " ")
    for (i = 1; i <= 5; i++) {
        room = order[i]
        printf "| `%s` | %d | %s %% | %d | %s %% |\n", room, functions[room], percent(functions_reached[room], functions[room]), \
            lines[room], percent(lines_reached[room], lines[room])
        functions["total"] += functions[room]; functions_reached["total"] += functions_reached[room]
        lines["total"] += lines[room]; lines_reached["total"] += lines_reached[room]
    }
    print "\nMost lines that nothing reaches:"
    fflush()
    sort = "sort -rn | head -n 20"
    for (name in missed) printf "%5d of %4d  %s\n", missed[name], lines_of[name], name | sort
    close(sort)
    print "\nFunctions that nothing reaches:"
    fflush()
    for (place in unreached) { line = unreached[place]; sub(/^ +/, "", line); print place "  " line | "sort" }
}

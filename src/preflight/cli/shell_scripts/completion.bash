_preflight_completion() {
    local IFS=$'\n'
    COMPREPLY=($(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
        _PREFLIGHT_COMPLETE=complete_bash "$1"))
}
complete -o default -F _preflight_completion preflight

function __preflight_complete
    env _PREFLIGHT_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) preflight
end
complete --command preflight --no-files --condition '__preflight_complete is-args' \
    --arguments '(__preflight_complete get-args)'

package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// printMachine says what the figures were taken on.
func (b *bench) printMachine() error {
	memory, load := "?", "?"
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			if kib, err := strconv.ParseFloat(fields[1], 64); err == nil {
				memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
			}
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Fields(string(text))[0]
	}
	_, err := fmt.Fprintf(b.out, "%d cores, %s, load before %s; %s; %s; %d rounds of %v a side; cells are min · median · max\n",
		runtime.NumCPU(), memory, load, runtime.Version(), strings.Join(b.versions(), ", "), b.rounds, b.each)
	return err
}

// versions are those of the engines, and of the libraries that the measured api was built with.
func (b *bench) versions() []string {
	all := []string{"Redis " + redisVersion()}
	if jars, _ := filepath.Glob(filepath.Join(b.scratch.Cache.KafkaLibs(), "kafka-server-[0-9]*.jar")); len(jars) > 0 {
		all = append(all, "Kafka "+strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), "kafka-server-"), ".jar"))
	}
	if ferret, err := buildinfo.ReadFile(b.scratch.Cache.FerretDB()); err == nil {
		all = append(all, "FerretDB "+ferret.Main.Version)
	}
	if api, err := buildinfo.ReadFile(b.scratch.Program("api")); err == nil {
		for _, d := range api.Deps {
			switch d.Path {
			case "github.com/gin-gonic/gin", "github.com/redis/go-redis/v9", "github.com/twmb/franz-go":
				all = append(all, strings.TrimPrefix(d.Path, "github.com/")+" "+d.Version)
			}
		}
	}
	return all
}

func redisVersion() string {
	out, err := exec.CommandContext(context.Background(), "redis-server", "--version").Output()
	if err != nil {
		return "?"
	}
	_, rest, _ := strings.Cut(string(out), "v=")
	version, _, _ := strings.Cut(rest, " ")
	return version
}

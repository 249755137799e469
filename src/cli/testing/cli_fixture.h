// The built binary as a user runs it, in a folder of its own: for the tests of `esa`.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace esa {

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    for (const char* variable : {"ENABLE_SPARSE", "MODEL_PATH", "DATA_DIR", "DATASET_PATH"}) {
      unsetenv(variable);
    }
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  static std::string ReadAll(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  // `arguments` as in a shell.
  Outcome Run(const std::string& arguments) {
    const std::string command = std::string(ESA_BINARY) + " " + arguments + " >" + folder_ +
                                "/out 2>" + folder_ + "/err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(folder_ + "/out"),
            ReadAll(folder_ + "/err")};
  }

  // The error line of a command that must fail with `code`.
  std::string ErrorOf(const std::string& arguments, int code) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.err;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_THAT(outcome.err,
                ::testing::AllOf(::testing::StartsWith("esa: "), ::testing::EndsWith("\n")))
        << arguments;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    return outcome.err;
  }

  std::string folder_;
};

class CliWithModel : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    model_ = ESA_SOURCE_DIR "/models/esa-needle";
    if (!std::filesystem::exists(model_ + "/model.safetensors")) {
      GTEST_SKIP() << model_ << " is not there";
    }
  }
  std::string model_;
};

}  // namespace esa

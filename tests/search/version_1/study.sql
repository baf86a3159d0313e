BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'before');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'settings','{"budget_ms": 1000.0, "data": null, "resolution": 64, "proxy_resolution": 32, "reward": "feasible", "sampler": "gp", "confidence": 0.95, "runtime": "eager", "threads": null, "latency": "{folder}/phone.json", "overshoot": 1.15, "seed": 0, "space_file": "{folder}/space.toml", "epochs": 1, "images": 60, "data_fingerprint": "1e451295092e02a6", "space": {"name": "mnasnet", "stem_width": 32, "head_width": 1280, "classes": 10, "resolution": 64, "se_ratio": 0.25, "dropout_percent": 20, "stages": [{"name": "stage1", "base_width": 16, "stride": 1, "expand_ratio": [1], "kernel": [3], "se": [false], "activation": ["relu"], "layers": [1], "width_mult": [0.75]}, {"name": "stage2", "base_width": 23, "stride": 2, "expand_ratio": [3], "kernel": [3, 5], "se": [false], "activation": ["relu"], "layers": [1], "width_mult": [0.75]}, {"name": "stage3", "base_width": 40, "stride": 2, "expand_ratio": [3], "kernel": [3], "se": [false], "activation": ["relu"], "layers": [1, 2], "width_mult": [0.75]}, {"name": "stage4", "base_width": 80, "stride": 2, "expand_ratio": [3], "kernel": [3], "se": [false], "activation": ["relu"], "layers": [1], "width_mult": [0.75]}, {"name": "stage5", "base_width": 92, "stride": 1, "expand_ratio": [3], "kernel": [3], "se": [false], "activation": ["relu"], "layers": [1], "width_mult": [0.75]}, {"name": "stage6", "base_width": 156, "stride": 2, "expand_ratio": [3], "kernel": [3], "se": [false], "activation": ["relu"], "layers": [1], "width_mult": [0.75]}, {"name": "stage7", "base_width": 320, "stride": 1, "expand_ratio": [3], "kernel": [3], "se": [false], "activation": ["relu"], "layers": [1], "width_mult": [0.75]}]}, "recipe": {"epochs": 1, "epoch_images": 1280, "epoch_validation": 1000, "batch_size": 32, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0005, "warmup_fraction": 0.2, "label_smoothing": 0.1, "ema_fraction": 0.1, "calm_residuals": true, "flip": false, "shift": 0.06, "brightness": 0.0, "contrast": 0.0, "colour": 0.0, "cutout": 0.0}, "device": {"schema": 2, "machine": "a phone", "runtime": "TFLite", "threads": 1, "dtype": "float32", "batch": 1, "memory_format": "channels_last", "resolution": 64, "versions": {}}, "table": "2a1267cddb9bb1c8", "name": "before", "versions": {"torch": "2.13.0+cpu", "optuna": "5.0.0", "numpy": "2.4.6"}}');
INSERT INTO "study_user_attributes" VALUES(2,1,'queued_again','[]');
INSERT INTO "study_user_attributes" VALUES(3,1,'spent_s','12.959838403000049');
INSERT INTO "study_user_attributes" VALUES(4,1,'winner_epochs','{"3622e82738f7f52f@None": [4, 0]}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,0.102,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,1,1.02833333333333332149e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'stage2.kernel',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(2,1,'stage3.layers',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2]}}');
INSERT INTO "trial_params" VALUES(3,2,'stage2.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(4,2,'stage3.layers',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'status','"trained"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'choices','{"stage1.expand_ratio": 1, "stage1.kernel": 3, "stage1.se": false, "stage1.activation": "relu", "stage1.layers": 1, "stage1.width_mult": 0.75, "stage2.expand_ratio": 3, "stage2.kernel": 3, "stage2.se": false, "stage2.activation": "relu", "stage2.layers": 1, "stage2.width_mult": 0.75, "stage3.expand_ratio": 3, "stage3.kernel": 3, "stage3.se": false, "stage3.activation": "relu", "stage3.layers": 2, "stage3.width_mult": 0.75, "stage4.expand_ratio": 3, "stage4.kernel": 3, "stage4.se": false, "stage4.activation": "relu", "stage4.layers": 1, "stage4.width_mult": 0.75, "stage5.expand_ratio": 3, "stage5.kernel": 3, "stage5.se": false, "stage5.activation": "relu", "stage5.layers": 1, "stage5.width_mult": 0.75, "stage6.expand_ratio": 3, "stage6.kernel": 3, "stage6.se": false, "stage6.activation": "relu", "stage6.layers": 1, "stage6.width_mult": 0.75, "stage7.expand_ratio": 3, "stage7.kernel": 3, "stage7.se": false, "stage7.activation": "relu", "stage7.layers": 1, "stage7.width_mult": 0.75}');
INSERT INTO "trial_user_attributes" VALUES(3,1,'spec','"{\n \"schema\": 1,\n \"name\": \"mnasnet\",\n \"resolution\": 64,\n \"in_channels\": 3,\n \"stages\": [\n  {\n   \"name\": \"stem\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 32,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"stage1\",\n   \"blocks\": [\n    {\n     \"block\": \"SeparableConv\",\n     \"out_channels\": 16,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"project_activation\": \"identity\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage2\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 48,\n     \"out_channels\": 16,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage3\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 48,\n     \"out_channels\": 32,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    },\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 96,\n     \"out_channels\": 32,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": true\n    }\n   ]\n  },\n  {\n   \"name\": \"stage4\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 96,\n     \"out_channels\": 64,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage5\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 192,\n     \"out_channels\": 72,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage6\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 216,\n     \"out_channels\": 120,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage7\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 360,\n     \"out_channels\": 240,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"head\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 1280,\n     \"kernel\": 1,\n     \"stride\": 1,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"classifier\",\n   \"blocks\": [\n    {\n     \"block\": \"Classifier\",\n     \"classes\": 10,\n     \"dropout_percent\": 20,\n     \"hidden_features\": 0,\n     \"hidden_activation\": \"h_swish\"\n    }\n   ]\n  }\n ]\n}"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'fingerprint','"2cc936eda90225f6"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'params','555658');
INSERT INTO "trial_user_attributes" VALUES(6,1,'macs','6456064');
INSERT INTO "trial_user_attributes" VALUES(7,1,'predicted_latency_ms','1.2359999999999998');
INSERT INTO "trial_user_attributes" VALUES(8,1,'predicted_low_ms','1.1778769450451965');
INSERT INTO "trial_user_attributes" VALUES(9,1,'predicted_high_ms','1.3001570407210974');
INSERT INTO "trial_user_attributes" VALUES(10,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(11,1,'accuracy','0.102');
INSERT INTO "trial_user_attributes" VALUES(12,1,'history','[0.102]');
INSERT INTO "trial_user_attributes" VALUES(13,1,'train_s','5.744444488999761');
INSERT INTO "trial_user_attributes" VALUES(14,1,'epochs','1');
INSERT INTO "trial_user_attributes" VALUES(15,1,'reward','0.102');
INSERT INTO "trial_user_attributes" VALUES(16,2,'status','"trained"');
INSERT INTO "trial_user_attributes" VALUES(17,2,'choices','{"stage1.expand_ratio": 1, "stage1.kernel": 3, "stage1.se": false, "stage1.activation": "relu", "stage1.layers": 1, "stage1.width_mult": 0.75, "stage2.expand_ratio": 3, "stage2.kernel": 5, "stage2.se": false, "stage2.activation": "relu", "stage2.layers": 1, "stage2.width_mult": 0.75, "stage3.expand_ratio": 3, "stage3.kernel": 3, "stage3.se": false, "stage3.activation": "relu", "stage3.layers": 2, "stage3.width_mult": 0.75, "stage4.expand_ratio": 3, "stage4.kernel": 3, "stage4.se": false, "stage4.activation": "relu", "stage4.layers": 1, "stage4.width_mult": 0.75, "stage5.expand_ratio": 3, "stage5.kernel": 3, "stage5.se": false, "stage5.activation": "relu", "stage5.layers": 1, "stage5.width_mult": 0.75, "stage6.expand_ratio": 3, "stage6.kernel": 3, "stage6.se": false, "stage6.activation": "relu", "stage6.layers": 1, "stage6.width_mult": 0.75, "stage7.expand_ratio": 3, "stage7.kernel": 3, "stage7.se": false, "stage7.activation": "relu", "stage7.layers": 1, "stage7.width_mult": 0.75}');
INSERT INTO "trial_user_attributes" VALUES(18,2,'spec','"{\n \"schema\": 1,\n \"name\": \"mnasnet\",\n \"resolution\": 64,\n \"in_channels\": 3,\n \"stages\": [\n  {\n   \"name\": \"stem\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 32,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"stage1\",\n   \"blocks\": [\n    {\n     \"block\": \"SeparableConv\",\n     \"out_channels\": 16,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"project_activation\": \"identity\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage2\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 48,\n     \"out_channels\": 16,\n     \"kernel\": 5,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage3\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 48,\n     \"out_channels\": 32,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    },\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 96,\n     \"out_channels\": 32,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": true\n    }\n   ]\n  },\n  {\n   \"name\": \"stage4\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 96,\n     \"out_channels\": 64,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage5\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 192,\n     \"out_channels\": 72,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage6\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 216,\n     \"out_channels\": 120,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"stage7\",\n   \"blocks\": [\n    {\n     \"block\": \"MBConv\",\n     \"expand_channels\": 360,\n     \"out_channels\": 240,\n     \"kernel\": 3,\n     \"stride\": 1,\n     \"activation\": \"relu\",\n     \"squeeze_channels\": 0,\n     \"squeeze_activation\": \"relu\",\n     \"gate\": \"sigmoid\",\n     \"skip\": false\n    }\n   ]\n  },\n  {\n   \"name\": \"head\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 1280,\n     \"kernel\": 1,\n     \"stride\": 1,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"classifier\",\n   \"blocks\": [\n    {\n     \"block\": \"Classifier\",\n     \"classes\": 10,\n     \"dropout_percent\": 20,\n     \"hidden_features\": 0,\n     \"hidden_activation\": \"h_swish\"\n    }\n   ]\n  }\n ]\n}"');
INSERT INTO "trial_user_attributes" VALUES(19,2,'fingerprint','"3622e82738f7f52f"');
INSERT INTO "trial_user_attributes" VALUES(20,2,'params','556426');
INSERT INTO "trial_user_attributes" VALUES(21,2,'macs','6652672');
INSERT INTO "trial_user_attributes" VALUES(22,2,'predicted_latency_ms','1.2556999999999996');
INSERT INTO "trial_user_attributes" VALUES(23,2,'predicted_low_ms','1.1966505500754474');
INSERT INTO "trial_user_attributes" VALUES(24,2,'predicted_high_ms','1.3208796084413283');
INSERT INTO "trial_user_attributes" VALUES(25,2,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(26,2,'accuracy','0.10283333333333333');
INSERT INTO "trial_user_attributes" VALUES(27,2,'history','[0.10283333333333333]');
INSERT INTO "trial_user_attributes" VALUES(28,2,'train_s','1.6063464039998507');
INSERT INTO "trial_user_attributes" VALUES(29,2,'epochs','1');
INSERT INTO "trial_user_attributes" VALUES(30,2,'reward','0.10283333333333333');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.102,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.02833333333333332149e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-29 12:50:49.483300','2026-11-29 12:50:55.353356');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-29 12:50:55.389340','2026-11-29 12:50:57.117796');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;

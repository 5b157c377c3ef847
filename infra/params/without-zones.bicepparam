// A region without zones: storage is locally redundant. The name has azd's largest length.
using '../main.bicep'

param environmentName = 'a-name-with-sixty-four-characters-which-is-the-limit-of-azd-1234'
param location = 'westus'

// The events of results: one BlobCreated for each blob under routed/, which is written after all that it points to. An
// account can have one system topic; where it has one already, subscriptions are made there instead (mailEvents: false).

param accountName string
param topicName string

@description('The region of the storage account: a system topic must be created in the region of its source.')
param location string
param tags object = {}
param container string

@description('Who gets them: [{ name: \'crm\', functionId: \'/subscriptions/…/functions/on_result\', route: \'sales\' }]; without route, every route\'s.')
param consumers array = []

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: accountName
}

resource topic 'Microsoft.EventGrid/systemTopics@2022-06-15' = {
  name: topicName
  location: location
  tags: tags
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource subscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2022-06-15' = [for consumer in consumers: {
  parent: topic
  name: consumer.name
  properties: {
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: consumer.functionId
        maxEventsPerBatch: 1
        preferredBatchSizeInKilobytes: 64
      }
    }
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      subjectBeginsWith: '/blobServices/default/containers/${container}/blobs/routed/${contains(consumer, 'route') ? '${consumer.route}/' : ''}'
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
  }
}]

output topicName string = topic.name
